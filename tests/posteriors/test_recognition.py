"""The recognition network: what it sees, what it does not, and what it knows of the data before training."""

from __future__ import annotations

import math

import pytest
import torch
from cases import Family, shake, traces
from torch import Tensor

from dfp.core.noise import generator
from dfp.posteriors.base import TraceSummary
from dfp.posteriors.recognition import Recognition, RecognitionConfig

NAN = math.nan


def network(cells: int = 2, centre: float = 0.0, scale: float = 1.0, **settings: object) -> Recognition:
    summary = TraceSummary(cells, torch.full((cells,), centre), torch.full((cells,), scale))
    made = Recognition(RecognitionConfig(hidden=5, **settings), summary, generator(0)).double()  # type: ignore[arg-type]
    shake(made, 1)
    return made


def reach(made: Recognition, x: Tensor) -> Tensor:
    """Largest |d logits[t, i] / d x[s, j]| as ``(T, N, T, N)``."""
    return torch.autograd.functional.jacobian(lambda values: made(values)[0], x)[0, :, :, 0].abs()


@pytest.mark.parametrize("per_cell", [False, True])
def test_a_cell_is_seen_through_its_window_only(per_cell: bool) -> None:
    x = traces(0, trials=1, bins=12, cells=2)
    seen = reach(network(window=2, per_cell=per_cell), x)
    lag = (torch.arange(12)[:, None] - torch.arange(12)).abs()
    assert (seen[:, 0, :, 1] == 0).all() and (seen[:, 1, :, 0] == 0).all()
    assert (seen[:, 0, :, 0][lag > 2] == 0).all()
    assert float(seen[:, 0, :, 0][lag == 2].max()) > 0


def test_cross_channels_see_the_other_cells() -> None:
    seen = reach(network(window=1, cross_channels=2), traces(0, trials=1, bins=6, cells=2))
    assert float(seen[:, 0, :, 1].max()) > 0 and float(seen[:, 1, :, 0].max()) > 0


def test_the_trace_is_standardised_and_unobserved_frames_enter_as_the_mean() -> None:
    x = traces(1, trials=2, bins=9, cells=2)
    plain, scaled = network(window=2), network(window=2, centre=5.0, scale=3.0)
    assert torch.allclose(plain(x)[0], scaled(5.0 + 3.0 * x)[0], atol=1e-12)
    for missing in (NAN, math.inf, -math.inf):
        gap, mean = x.clone(), x.clone()
        gap[0, 3], mean[0, 3] = missing, 0.0
        assert torch.equal(plain(gap)[0], plain(mean)[0])


def test_the_ends_of_the_trial_are_told() -> None:
    """A constant trace looks the same everywhere but near the ends."""
    logits = network(window=3)(torch.zeros(1, 20, 2, dtype=torch.float64))[0][0, :, 0]
    assert torch.equal(logits[3:17], logits[3].expand(14))
    assert len({round(value, 12) for value in (logits[:4].tolist() + logits[-3:].tolist())}) == 7


def test_cells_of_a_shared_network_differ_by_gain_and_offset() -> None:
    made = network(window=2)
    x = traces(2, trials=1, bins=7, cells=1).expand(-1, -1, 2)
    logits = made(x)[0]
    standard = (logits - made.offset) / made.gain
    assert torch.allclose(standard[..., 0], standard[..., 1]) and not torch.allclose(
        logits[..., 0], logits[..., 1]
    )


def test_summary_is_mean_and_spread_of_what_was_observed() -> None:
    x = traces(3, trials=3, bins=50, cells=4)
    x[1, :20, 0] = NAN
    x[..., 2] = NAN
    x[..., 3] = 1.5
    summary = TraceSummary.of(x)
    observed = torch.cat([x[0, :, 0], x[1, 20:, 0], x[2, :, 0]])
    assert summary.cells == 4
    assert float(summary.centre[0]) == pytest.approx(float(observed.mean()), rel=1e-6)
    assert float(summary.scale[0]) == pytest.approx(float(observed.std(unbiased=False)), rel=1e-6)
    assert float(summary.centre[3]) == 1.5 and 0 < float(summary.scale[3]) < 1e-5
    assert torch.isfinite(summary.centre).all() and torch.isfinite(summary.scale).all(), (
        "a cell never observed"
    )


def test_a_cell_that_is_never_observed_keeps_to_its_prior_rate() -> None:
    x = traces(4, trials=2, bins=10, cells=2)
    x[..., 1] = NAN
    made = Recognition(RecognitionConfig(window=2, hidden=4, per_cell=True), TraceSummary.of(x), generator(0))
    logits, features = made(x.float())
    assert torch.isfinite(logits).all() and torch.isfinite(features).all()
    flat = made(torch.zeros(2, 10, 2))[0][..., 1]
    assert torch.equal(logits[..., 1], flat)


def test_weights_from_a_cell_to_itself_are_ignored() -> None:
    """In the mixing of other cells' traces, and in the coupling, which is the history filter's business."""
    settings = {"recognition": {"window": 1, "hidden": 4, "cross_channels": 2}, "coupling_lags": 2}
    posterior = Family("autoregressive", settings).trained(2)
    x, z = traces(5, trials=1, bins=6, cells=2), torch.ones(1, 1, 6, 2, dtype=torch.float64)
    before = posterior.condition(x).q.logits(z)
    for name in ("recognition.cross_mix", "coupling"):
        with torch.no_grad():
            posterior.get_parameter(name)[:, range(2), range(2)] += 3.0
        assert torch.equal(posterior.condition(x).q.logits(z), before)
        with torch.no_grad():
            posterior.get_parameter(name)[:, 0, 1] += 3.0
        assert not torch.equal(posterior.condition(x).q.logits(z), before)
        before = posterior.condition(x).q.logits(z)
