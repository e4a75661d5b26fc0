"""Files that inferred spikes are written as, one file a format."""
