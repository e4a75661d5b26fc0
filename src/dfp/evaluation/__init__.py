"""Floor 5: exact references, bounds, metrics."""
