"""References that write the frames' law out say which observation models they serve, and refuse others."""

from __future__ import annotations

import cases
import numpy as np
import pytest
import torch

from dfp.core.errors import UserError
from dfp.data.dataset import Dataset
from dfp.data.networks import sparse_random
from dfp.data.simulate import simulate
from dfp.models import served
from dfp.models.base import require_kind
from dfp.models.kinds import kinds, observation
from dfp.references.exact import enumerated, one_cell
from dfp.references.gibbs.learning import em, weight_posterior
from dfp.references.gibbs.particles import gibbs_chain
from dfp.references.peers import networks as peers

HEAVY = observation("calcium_heavy_tailed", {"freedom": 2.0}, "")
SAID = r"{} found the observation model 'calcium_heavy_tailed', expected 'calcium', which is all that it ser"


def recording() -> Dataset:
    return simulate(
        sparse_random(3, np.random.default_rng(0), bin_rate=30.0), [0], bin_rate=30.0, bins=60, trials=1,
        test_trials=0, rise=0.0, decay=0.1, amplitude=1.0, baseline=0.0, noise=0.3, kernel_bins=6,
        observation=HEAVY,
    )  # fmt: skip


def test_exact_posteriors_refuse_another_law_of_the_frames() -> None:
    heavy = HEAVY.model(cases.parameters(2), 10.0, kernel_bins=4)
    with pytest.raises(UserError, match=SAID.format("exact posterior:")):
        one_cell.cell_parameters(heavy)
    assert one_cell.cell_parameters(cases.model(2, kernel_bins=4)).memory == 4


@pytest.mark.parametrize("particles", [0, 4])
def test_gibbs_sampling_refuses_another_law_of_the_frames(particles: int) -> None:
    data = recording()
    words = SAID.format("(blocked|particle) Gibbs:")
    with pytest.raises(UserError, match=words):
        gibbs_chain(data.start, data.bin_rate, data.kernel_bins, data.x, 0, particles=particles)
    with pytest.raises(UserError, match=words):
        em(data, 2, 1, seed=0, particles=particles)
    with pytest.raises(UserError, match=words):
        weight_posterior(data, 2, 1, 0, 0.6, particles=particles)


def test_of_the_peers_those_that_see_traces_refuse() -> None:
    data = recording()
    settings = peers.PeerSettings(deconvolution="plain")
    for method in ("oasis_glm", "oasis_correlation"):
        with pytest.raises(UserError, match=SAID.format("OASIS:")):
            peers.estimate(method, data, settings)
    assert peers.estimate("glm_true_spikes", data, settings).coupling.shape == data.start.coupling.shape


def test_all_that_is_served_is_a_kind() -> None:
    for some in (served.EXACT, served.GIBBS, served.OASIS, served.GUESSES):
        assert set(some) <= set(kinds())
        for kind in some:
            require_kind(kind, some, "here")


def test_enumeration_serves_every_kind() -> None:
    """It asks the model for its density."""
    heavy = HEAVY.model(cases.parameters(1), 10.0).double()
    x = cases.traces(0, trials=1, bins=4, cells=1)
    with torch.no_grad():
        paths = enumerated.paths_of(x, independent=True)
        joint = enumerated.per_group(heavy.log_joint(x, paths), True)
    assert joint.shape == (16, 1, 1) and torch.isfinite(joint.logsumexp(0)).all()
