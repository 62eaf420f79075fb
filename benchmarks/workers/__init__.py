"""Processes that are measured; each file runs in its own library's environment."""
