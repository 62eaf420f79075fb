"""The doors to other people's code."""
