"""The four test energies: their formulas, their normalisers on the box, and the walls around it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dfp.core.noise import generator
from experiments.flows.energies import ENERGIES, HALF, inside, log_normaliser, walls

#: on [−4, 4]², found apart from this code
LOG_Z = {"U1": 1.8775, "U2": 2.0821, "U3": 2.6417, "U4": 2.6846}


@pytest.mark.parametrize("name", ENERGIES)
def test_normalisers_are_those_of_the_notes(name: str) -> None:
    found = log_normaliser(ENERGIES[name])
    assert abs(found - LOG_Z[name]) < 5e-5 + 1e-6
    assert abs(found - log_normaliser(ENERGIES[name], points=400)) < 2e-6, "the grid is fine enough"


def test_three_energies_have_no_normaliser_on_the_plane() -> None:
    growth = {name: log_normaliser(U, 2 * HALF) - log_normaliser(U) for name, U in ENERGIES.items()}
    assert abs(growth["U1"]) < 1e-6
    assert all(abs(growth[name] - np.log(2)) < 0.2 for name in ("U2", "U3", "U4"))


def test_the_energies_are_those_of_the_table() -> None:
    """As printed (Rezende & Mohamed 2015, table 1), in plain exponentials."""
    z = 3 * torch.randn(200, 2, generator=generator(0), dtype=torch.float64).clamp(-1.3, 1.3)
    x, y = z.numpy().T
    w1 = np.sin(2 * np.pi * x / 4)
    w2 = 3 * np.exp(-0.5 * ((x - 1) / 0.6) ** 2)
    w3 = 3 / (1 + np.exp(-(x - 1) / 0.3))

    def bell(value: np.ndarray, width: float) -> np.ndarray:
        return np.exp(-0.5 * (value / width) ** 2)

    with np.errstate(divide="ignore"):
        expected = {
            "U1": 0.5 * ((np.hypot(x, y) - 2) / 0.4) ** 2 - np.log(bell(x - 2, 0.6) + bell(x + 2, 0.6)),
            "U2": 0.5 * ((y - w1) / 0.4) ** 2,
            "U3": -np.log(bell(y - w1, 0.35) + bell(y - w1 + w2, 0.35)),
            "U4": -np.log(bell(y - w1, 0.4) + bell(y - w1 + w3, 0.35)),
        }
    for name, values in expected.items():
        kept = np.isfinite(values)
        assert kept.sum() > 190
        assert np.allclose(ENERGIES[name](z).numpy()[kept], values[kept], rtol=1e-9)
        assert ENERGIES[name](50 * z).isfinite().all(), "where plain exponentials give infinity too"


def test_walls_begin_at_the_box() -> None:
    z = torch.tensor([[0.0, 0.0], [4.0, -4.0], [4.1, 0.0], [-4.2, 4.1]], dtype=torch.float64)
    assert torch.allclose(walls(z), torch.tensor([0.0, 0.0, 0.5, 2.5], dtype=torch.float64))
    assert inside(z).tolist() == [True, True, False, False]
