"""Compiled loops (numba), imported only when a compiled sampler draws."""
