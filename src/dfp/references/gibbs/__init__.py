"""Gibbs sampling of the exact posterior of coupled cells, alone and inside learning."""
