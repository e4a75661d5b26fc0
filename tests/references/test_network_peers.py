"""Connectivity by deconvolution: each method on data where its answer is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dfp.core.errors import UserError
from dfp.data.dataset import Dataset
from dfp.data.networks import sparse_random
from dfp.data.simulate import simulate
from dfp.metrics.connectivity import weight_metrics
from dfp.references.peers.networks import (
    METHODS,
    Deconvolved,
    PeerSettings,
    estimate,
    lagged_correlation,
    run,
)


def network(seed: int, bins: int = 6000, noise: float = 0.1) -> Dataset:
    made = sparse_random(
        5, np.random.default_rng(seed), density=0.4, weight_sd=1.5, rate_hz=5.0, bin_rate=30.0
    )
    return simulate(
        made, [seed], bin_rate=30.0, bins=bins, trials=1, test_trials=0, rise=0.0, decay=0.15,
        amplitude=1.0, baseline=0.0, noise=noise, kernel_bins=0,
    )  # fmt: skip


def test_every_method_finds_connections_at_little_noise() -> None:
    """Noise of a tenth of a spike's amplitude: spikes are all but visible."""
    found = run(METHODS, network(100), network(0))
    scores = {
        name: weight_metrics(estimated.coupling, network(0).start.coupling, estimated.scaled)
        for name, (_, estimated) in found.items()
    }
    assert scores["glm_true_spikes"]["weight_correlation"] > 0.9
    assert scores["oasis_glm"]["weight_correlation"] > 0.85
    assert scores["oasis_correlation"]["weight_correlation"] > 0.8
    assert "weight_slope" not in scores["oasis_correlation"]
    assert all(settings.score > 0.8 for settings, _ in found.values())
    assert found["oasis_correlation"][0].lag == 1  # the lag that the network was made with


def test_settings_are_chosen_on_the_other_network_alone() -> None:
    """Other test traces, the same settings."""
    tuning = network(100)
    first = run(["oasis_glm"], tuning, network(0))["oasis_glm"][0]
    second = run(["oasis_glm"], tuning, network(1, noise=0.8))["oasis_glm"][0]
    assert first == second


def test_lagged_correlation_by_hand() -> None:
    rng = np.random.default_rng(0)
    s = rng.random((2, 300, 3))
    found = lagged_correlation(s, s, np.array([[1.0]]), lag=2)
    past = np.concatenate([np.zeros((2, 2, 3)), s[:, :-2]], axis=1)
    expected = np.corrcoef(s[..., 0].ravel(), past[..., 1].ravel())[0, 1]
    assert found[0, 0, 1] == pytest.approx(expected)
    assert (found[0, np.arange(3), np.arange(3)] == 0).all()
    s[..., 1] = 0.5
    assert lagged_correlation(s, s, np.array([[1.0]]), lag=1)[0, 1, 0] == 0


def test_missing_frames_are_left_out() -> None:
    data = network(0, bins=2000)
    x = data.x.copy()
    x[:, 500:600, 2] = np.nan
    x[:, :50, 1] = np.nan
    holes = replace(data, x=x)
    traces = Deconvolved(holes)
    assert np.isfinite(traces.spikes("known")).all()
    assert (traces.spikes("known")[:, :50, 1] == 0).all()
    settings = PeerSettings()
    whole = estimate("oasis_glm", data, settings).coupling
    assert weight_metrics(estimate("oasis_glm", holes, settings).coupling, whole)["weight_correlation"] > 0.9


def test_mistakes_are_one_sentence() -> None:
    data = network(0, bins=300)
    with pytest.raises(UserError, match=r"unknown method 'oasis_gml' \(did you mean 'oasis_glm'\?\)"):
        estimate("oasis_gml", data, PeerSettings())
    with pytest.raises(UserError, match="no true spikes"):
        estimate("glm_true_spikes", replace(data, z=None), PeerSettings())
    with pytest.raises(UserError, match="no observed frame of cell"):
        Deconvolved(replace(data, x=np.full_like(data.x, np.nan)))
