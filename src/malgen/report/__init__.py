"""Tell: one self-contained page for a person, from one RunResult."""
