"""Floor 9: the stages of an experiment, plain functions from input paths to output paths."""
