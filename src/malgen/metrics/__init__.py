"""Counting: recorded episodes -> one number per episode."""
