"""Floor 7: the stages of an experiment, plain functions from input paths to output paths."""
