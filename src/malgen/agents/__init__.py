"""Who acts: every file ends in one kind of policy."""
