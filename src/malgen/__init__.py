"""malgen."""
