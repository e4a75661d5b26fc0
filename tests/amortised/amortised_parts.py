"""Tiny networks."""

from __future__ import annotations

import torch

from dfp.amortised.network import Network, Sizes

TINY = Sizes((4, 6, 6), (3, 3, 3), basis=3, scale_basis=2, hidden=8, context=8, components=2)


def random_network(seed: int, spread: float = 0.15) -> Network:
    """A tiny network whose outputs depend on everything: no weight of it is at its quiet start."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Network(TINY)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(spread * torch.randn(parameter.shape))
    return network.eval().requires_grad_(False)
