"""dfp: discrete flow posteriors for variational inference in discrete dynamical systems."""

__version__ = "0.1.0"
