"""Planning for item-collecting grid worlds: the best agent, exactly or in bounds."""
