"""Training: batches of windows, a loss that falls, and a state to go on from."""

from __future__ import annotations

import io
import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from amortised_parts import TINY

from dfp.amortised.features import OBSERVED
from dfp.amortised.network import Network
from dfp.amortised.training import Batch, Schedule, Trainer, batches, loss, train
from dfp.data.recording import Recording
from dfp.data.recordings import load_recordings

SCHEDULE = Schedule(steps=5, bins=1024, draws=2, sizes=TINY)


@pytest.fixture(scope="module")
def recordings(ground_truth: Path) -> list[Recording]:
    return load_recordings(ground_truth)


def drawn(schedule: Schedule, recordings: list[Recording], number: int) -> list[Batch]:
    return list(itertools.islice(batches(schedule, recordings, np.random.default_rng(0)), number))


def test_a_batch_has_the_bins_that_were_asked_for_and_both_kinds(recordings: list[Recording]) -> None:
    for batch in drawn(replace(SCHEDULE, bins=8192), recordings, 4):
        windows, bins = batch.counts.shape
        assert windows == max(1, 8192 // bins)
        assert batch.frames.shape[::2] == (windows, bins) and batch.valid.shape == (windows, bins)
        outside = batch.valid == 0
        assert (batch.counts[outside] == 0).all() and (batch.frames[:, OBSERVED][outside] == 0).all()
        recorded = batch.part(~batch.simulated).theta
        assert (recorded[:, 0] != 0).all() and (recorded[:, 1:] == 0).all()  # of these only the rate is known
        assert (batch.part(batch.simulated).theta != 0).all()
        assert all(torch.isfinite(getattr(batch, name).float()).all() for name in vars(batch))
    both = torch.cat([batch.simulated for batch in drawn(replace(SCHEDULE, bins=8192), recordings, 6)])
    assert 0.2 < both.float().mean() < 0.8
    assert all(batch.simulated.all() for batch in drawn(SCHEDULE, [], 3))


def test_a_share_of_nothing_recorded_leaves_recordings_out(recordings: list[Recording]) -> None:
    assert all(batch.simulated.all() for batch in drawn(replace(SCHEDULE, recorded=0.0), recordings, 3))
    assert not any(batch.simulated.any() for batch in drawn(replace(SCHEDULE, recorded=1.0), recordings, 3))


def test_training_lowers_the_loss_of_cells_that_it_never_saw() -> None:
    held_out = list(itertools.islice(batches(SCHEDULE, [], np.random.default_rng(99)), 30))
    told: list[float] = []
    longer = replace(SCHEDULE, steps=80, bins=2048, learning_rate=0.01)
    trained = train(longer, progress=lambda step, terms: told.append(terms["simulated"]))
    assert len(told) == 80

    def mean_loss(network: Network) -> float:
        rng = torch.Generator().manual_seed(0)
        with torch.no_grad():
            return float(np.mean([float(loss(network, one, SCHEDULE, rng)[0]) for one in held_out]))

    assert mean_loss(trained) < mean_loss(Trainer(longer).network) - 0.01


@pytest.mark.parametrize("cut", [1, 4])
def test_a_training_goes_on_from_its_state_to_the_same_bits(recordings: list[Recording], cut: int) -> None:
    whole = Trainer(SCHEDULE, recordings)
    terms = list(whole.run())
    first = Trainer(SCHEDULE, recordings)
    told = list(itertools.islice(first.run(), cut))
    file = io.BytesIO()
    torch.save(first.state(), file)
    file.seek(0)
    second = Trainer(SCHEDULE, recordings)
    second.load_state(torch.load(file, weights_only=True))
    assert second.step == cut
    assert told + list(second.run()) == terms
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, second.network.state_dict()[name]), name


def test_a_training_leaves_torchs_own_generator_alone() -> None:
    before = torch.get_rng_state()
    train(replace(SCHEDULE, steps=1))
    assert torch.equal(before, torch.get_rng_state())


def test_the_seed_decides_the_weights() -> None:
    one, same, other = (train(replace(SCHEDULE, steps=1, seed=seed)).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(value, same[name]) for name, value in one.items())
    assert not all(torch.equal(value, other[name]) for name, value in one.items())
