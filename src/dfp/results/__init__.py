"""Tidy tables, their intervals, and what is judged from them; no torch but in ``study``, for its device."""
