"""Figures of merit of samples, counts, spikes and weights."""
