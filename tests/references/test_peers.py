"""OASIS through its own package, and without it."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from dfp.core.errors import UserError
from dfp.metrics.spikes import correlation
from dfp.references.peers.oasis import oasis_deconvolve


def trace(seed: int, bins: int = 3000) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    spikes = (rng.random(bins) < 0.02).astype(float)
    level, calcium = 0.0, np.zeros(bins)
    for t in range(bins):
        level = 0.9 * level + spikes[t]
        calcium[t] = level
    return spikes, 0.5 + calcium + 0.1 * rng.standard_normal(bins)


def test_oasis_finds_spikes_in_one_and_many_traces() -> None:
    pytest.importorskip("oasis")
    true, x = zip(*(trace(seed) for seed in range(2)), strict=True)
    both = np.stack(x, axis=1).astype(np.float32)
    result = oasis_deconvolve(both)
    assert result.spikes.shape == result.calcium.shape == (3000, 2) and result.decay.shape == (2,)
    assert np.all(result.spikes >= 0)
    for n in range(2):
        assert correlation(result.spikes[:, n], true[n]) > 0.8
        assert result.baseline[n] == pytest.approx(0.5, abs=0.15)
        assert result.decay[n] == pytest.approx(0.9, abs=0.06)
    alone = oasis_deconvolve(both[:, 1])
    assert alone.spikes.shape == (3000,) and alone.baseline.shape == ()
    assert np.allclose(alone.spikes, result.spikes[:, 1])


@pytest.mark.parametrize("offset", [-5.0, -0.3, 0.3, 1.0])
@pytest.mark.parametrize("way", [{}, {"b": 0.5, "sn": 0.1}, {"b": 0.5, "penalty": None}], ids=str)
def test_where_the_baseline_lies_does_not_matter(offset: float, way: dict[str, float]) -> None:
    """OASIS 0.3.2 by itself: a known baseline is not subtracted under a penalty, and one below zero is not
    found, which leaves no spikes."""
    pytest.importorskip("oasis")
    true, x = trace(4)
    moved = {**way, "b": way["b"] + offset} if "b" in way else way
    here, there = oasis_deconvolve(x, **way), oasis_deconvolve(x + offset, **moved)
    assert np.allclose(there.spikes, here.spikes, atol=1e-4)
    assert there.baseline == pytest.approx(here.baseline + offset, abs=1e-4)
    if way.get("penalty", 1):
        assert there.spikes.sum() == pytest.approx(true.sum(), rel=0.25)


def test_options_reach_oasis() -> None:
    pytest.importorskip("oasis")
    _, x = trace(0)
    given = oasis_deconvolve(x, tau_d=-1 / (30 * np.log(0.9)), framerate=30.0)
    assert given.decay == pytest.approx(0.9)
    with pytest.raises(UserError, match=r"refused its options \['frame_rate'\]"):
        oasis_deconvolve(x, frame_rate=30.0)


def test_missing_frames_are_bridged() -> None:
    pytest.importorskip("oasis")
    true, x = trace(0)
    x[1000:1020] = np.nan
    result = oasis_deconvolve(x)
    assert np.all(np.isfinite(result.spikes))
    known = np.isfinite(x)
    assert correlation(result.spikes[known], true[known]) > 0.8


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.ones(100), "trace 0 is constant"),
        (np.full(100, np.nan), "no finite frames"),
        (np.append(np.arange(99.0), np.inf), "infinite"),
        (np.zeros((2, 3, 4)), "expected \\(frames,\\)"),
    ],
)
def test_traces_that_are_refused(x: np.ndarray, message: str) -> None:
    pytest.importorskip("oasis")
    with pytest.raises(UserError, match=message):
        oasis_deconvolve(x)


def test_a_missing_package_is_told_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "oasis", None)
    monkeypatch.setitem(sys.modules, "oasis.functions", None)
    with pytest.raises(UserError, match="pip install oasis-deconv"):
        oasis_deconvolve(np.arange(10.0))
