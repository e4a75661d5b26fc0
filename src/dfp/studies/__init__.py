"""Floor 7: studies, one file each: a whole table made in one process, from its own settings."""
