"""Floor 5: where data come from: simulated networks, ground-truth recordings and a user's own traces.

Nothing here imports torch: every module works on NumPy arrays. Shapes follow the legend of ``dfp.core``.
"""
