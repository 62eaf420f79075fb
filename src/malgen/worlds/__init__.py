"""What exists: one world family per file."""
