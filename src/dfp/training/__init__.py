"""Floor 5: the one training loop, with its schedules and windows."""
