"""Long recordings by stretches: the law of the simulator, and the same bits whatever the stretch."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cases import model, process
from scipy.special import expit

from dfp.config.networks import write_simulated
from dfp.config.schema import SimulationSpec
from dfp.core.errors import UserError
from dfp.core.noise import generator
from dfp.data.chunks import go_on, stretches
from dfp.data.dataset import Dataset
from dfp.samplers.auto import Auto
from dfp.samplers.fixed_point import FixedPoint
from dfp.samplers.relaxations import Hard
from dfp.samplers.sequential import Sequential


def spec(stretch: int, **changed: Any) -> SimulationSpec:
    settings: dict[str, Any] = {
        "network": {"kind": "sparse_random", "cells": 6, "density": 0.3, "weight_sd": 1.0, "rate_hz": 3.0},
        "seeds": [3], "bins": 157, "trials": 2, "test_trials": 1, "rise": 0.1, "noise": 0.3,
    }  # fmt: skip
    return SimulationSpec(**{**settings, **changed}, stretch=stretch)


def written(tmp_path: Path, stretch: int, **changed: Any) -> Path:
    out = tmp_path / f"{stretch}.npz"
    write_simulated(spec(stretch, **changed), "here", out)
    return out


@pytest.mark.parametrize(
    "changed", [{}, {"kernel_bins": 7}, {"network": {"kind": "independent"}, "seeds": [1, 5]}]
)
def test_the_file_is_the_same_whatever_the_stretch(tmp_path: Path, changed: dict[str, Any]) -> None:
    """Shorter than the memory, dividing the trial or not, longer than it: every byte."""
    whole = written(tmp_path, 157, **changed).read_bytes()
    for stretch in (1, 10, 64, 1000):
        assert written(tmp_path, stretch, **changed).read_bytes() == whole
    data = Dataset.load(tmp_path / "10.npz")
    assert data.z is not None and data.z_test is not None
    assert data.x.shape == data.z.shape == (2, 157, len(data.names)) and data.x_test.shape[0] == 1
    assert not np.array_equal(data.z[0], data.z[1]) and 0 < data.z.mean() < 0.5
    assert data.facts["mean_rate_hz"] == pytest.approx(
        30 * np.concatenate([data.z, data.z_test]).mean(), rel=1e-9
    )
    assert not list(tmp_path.glob(".*")), "temporary files are gone"


@pytest.mark.parametrize("kind", ["own_history", "coupled"])
@pytest.mark.parametrize("sampler", [Sequential(), FixedPoint(), Auto()], ids=lambda one: one.name)
def test_going_on_is_sampling_the_whole(kind: str, sampler: Any) -> None:
    law = process(kind, 1, trials=2, bins=11, cells=2)
    noise = law.noise(3, generator(2))
    whole = law.draw(noise, Sequential(), Hard()).z
    window = torch.zeros(3, 2, law.memory, 2, dtype=torch.float64)
    parts, start = [], 0
    for bins in (4, 1, 6):
        cut = law.with_drive(law.drive[:, start : start + bins])
        z, window = go_on(cut, noise[:, :, start : start + bins], window, sampler)
        parts.append(z)
        start += bins
    assert torch.equal(torch.cat(parts, 2), whole) and torch.equal(window, whole[:, :, -law.memory :])


@pytest.mark.parametrize("kernel_bins", [0, 1, 6])
@pytest.mark.parametrize("rise", [0.0, 0.05, 0.3])
def test_calcium_goes_on_where_it_was(kernel_bins: int, rise: float) -> None:
    network = model(3, learn=(), rise=rise, kernel_bins=kernel_bins)
    z = (torch.rand(1, 1, 80, 3, generator=generator(0), dtype=torch.float64) < 0.2).double()
    with torch.no_grad():
        whole = network.fluorescence(z)[0, 0].numpy()
    observe = network.in_stretches(80)
    parts = [observe(part, np.zeros_like(part)) for part in np.split(z[0, 0].numpy(), [1, 30, 33])]
    assert np.allclose(np.concatenate(parts), whole, rtol=1e-9, atol=1e-9)


def test_stretches_follow_the_law_of_the_model() -> None:
    """Spikes have the probabilities that their past gives them, and traces the noise of the model."""
    network = model(3, basis=1, strength=0.5)
    z, x = (np.concatenate(part) for part in zip(*stretches(network, [4], 20_000, 0, 900), strict=True))
    spikes = torch.as_tensor(z, dtype=torch.float64)[None, None]
    with torch.no_grad():
        probability = expit(network.prior(1, len(z)).logits(spikes)[0, 0].numpy())
        residual = x - network.fluorescence(spikes)[0, 0].numpy()
    score = (z - probability).sum(0) / np.sqrt((probability * (1 - probability)).sum(0))
    assert np.abs(score).max() < 4
    edges = np.quantile(probability, np.linspace(0, 1, 6))
    for low, high in pairwise(edges):
        inside = (probability >= low) & (probability < high)
        spread = np.sqrt((probability * (1 - probability))[inside].sum())
        assert abs((z - probability)[inside].sum()) < 4.5 * spread
    noise = network.value("noise").detach().numpy()
    assert np.allclose(residual.std(0), noise, rtol=4 / np.sqrt(2 * len(z)))
    assert np.abs(residual.mean(0) * np.sqrt(len(z)) / noise).max() < 4


def test_a_cells_data_depend_on_its_own_seed_only(tmp_path: Path) -> None:
    panel = {"network": {"kind": "independent"}}
    three, one = (Dataset.load(written(tmp_path, 50, **panel, seeds=seeds)) for seeds in ([1, 5, 9], [5, 2]))
    assert three.z is not None and one.z is not None
    assert np.array_equal(three.z[..., 1], one.z[..., 0]) and np.array_equal(three.x[..., 1], one.x[..., 0])


PROGRAM = """
import resource, sys
from pathlib import Path
from dfp.config.networks import write_simulated
from dfp.config.schema import SimulationSpec
network = {"kind": "independent"}
spec = SimulationSpec(network, list(range(200)), bins=int(sys.argv[1]), trials=1, test_trials=0, stretch=500)
write_simulated(spec, "here", Path(sys.argv[2]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_does_not_grow_with_the_bins(tmp_path: Path) -> None:
    """With 36 MB of traces more, the peak of a process of its own grows by less than a third of that."""
    peaks = []
    for bins in (5_000, 50_000):
        arguments = [sys.executable, "-c", PROGRAM, str(bins), str(tmp_path / "long.npz")]
        done = subprocess.run(arguments, capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout))
    assert peaks[1] - peaks[0] < 12 * 1024


def test_a_stretch_below_nothing_is_refused() -> None:
    with pytest.raises(UserError, match="stretch: found -1, expected at least 0"):
        spec(-1)


def test_traces_are_stored_and_spikes_compressed(tmp_path: Path) -> None:
    with zipfile.ZipFile(written(tmp_path, 40)) as archive:
        kinds = {info.filename: info.compress_type for info in archive.infolist()}
    assert kinds["x.npy"] == zipfile.ZIP_STORED and kinds["z.npy"] == zipfile.ZIP_DEFLATED
