"""Which observation models are served by what writes the law of the frames out; everything else serves all.

Beside the models, so that a configuration can refuse a kind without loading what would have used it.
"""

from __future__ import annotations

#: exact posteriors: linear in the spikes, Gaussian
EXACT = ("calcium",)
#: Gibbs sampling, blocked and by particles
GIBBS = ("calcium",)
#: OASIS
OASIS = ("calcium",)
#: first guesses from traces
GUESSES = ("calcium", "calcium_heavy_tailed")
