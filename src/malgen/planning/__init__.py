"""Exact planning for item-collecting grid worlds: what the best agent would do."""
