"""Floor 3: generative models."""
