"""Floor 7: studies, one file each: a measurement whose whole table is made in one process, from its own settings."""
