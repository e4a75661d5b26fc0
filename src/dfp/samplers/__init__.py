"""Floor 1: samplers of autoregressive processes, and the relaxations they sample through."""
