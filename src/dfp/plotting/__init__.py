"""Figures from tidy tables only: nothing in this package imports torch.

``tables`` reads the results of an experiment, ``style`` holds the colours and names, ``marks`` and ``traces``
the pictures' parts.
"""
