"""Ask: one question per file, one measurement out."""
