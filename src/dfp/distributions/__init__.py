"""Floor 2: causal Bernoulli processes, used both as priors and as posteriors."""
