"""Somebody else's environment: the same verdict from a scenario that a user writes."""
