"""What selects: base optimizers turn a task into policies."""
