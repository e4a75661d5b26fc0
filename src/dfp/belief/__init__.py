"""Directed belief networks with one stochastic layer, and gradient-refined inference in them.

``network`` is p(h) p(x | h), ``recognition`` q_φ, ``latents`` the two kinds of stochastic units,
``refinement`` the E-step, ``learning`` the EM loop, ``scores`` the bounds from samples, ``enumerated`` and
``linear_gaussian`` the exact references.
"""
