"""Exact references: every state or every path is visited, nothing is sampled."""
