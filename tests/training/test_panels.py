"""A panel trains each of its cells as if it were alone; clipping, together and per cell."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from cases import Family, metrics_of, parameters, traces
from torch import Tensor

from dfp.core.noise import generator, logistic_noise
from dfp.distributions.causal_bernoulli import CausalBernoulli
from dfp.models.calcium import CalciumNetwork, CalciumParameters
from dfp.objectives.multi_sample import MultiSample
from dfp.objectives.relaxed_pmf import RelaxedPmf
from dfp.objectives.score_function import ScoreFunction
from dfp.posteriors.base import Posterior
from dfp.samplers.fixed_point import FixedPoint
from dfp.samplers.sequential import Sequential
from dfp.training.loop import Trainer, clip_gradients
from dfp.training.phase import Phase

PER_CELL = {"recognition": {"window": 2, "hidden": 4, "per_cell": True}, "history": 3}
LEARNED = ("bias", "history", "amplitude", "noise")


def alone(start: CalciumParameters, n: int) -> CalciumParameters:
    """The parameters of one cell of a panel."""
    one = {name: getattr(start, name)[n : n + 1] for name in CalciumParameters.names if name != "coupling"}
    return CalciumParameters(coupling=start.coupling[:, :1, :1], basis=start.basis, **one)


def sliced(whole: Posterior, n: int, family: Family) -> Posterior:
    """A one-cell posterior with the weights of cell n."""
    part = family.fresh(1)
    part.load_state_dict({name: value[n : n + 1] for name, value in whole.state_dict().items()})
    return part


@pytest.fixture
def noise_by_cell(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[int]], None]:
    """Give every cell a noise stream of its own, whichever panel it stands in."""

    def use(cells: list[int]) -> None:
        streams = [generator(1000 + n) for n in cells]

        def noise(self: CausalBernoulli, samples: int, rng: torch.Generator) -> Tensor:
            shape = (samples, *self.drive.shape[-3:-1], 1)
            return torch.cat([logistic_noise(shape, stream, self.drive.dtype) for stream in streams], -1)

        monkeypatch.setattr(CausalBernoulli, "noise", noise)

    return use


PANELS: dict[str, tuple[Family, list[Phase]]] = {
    "relaxed": (
        Family("autoregressive", {**PER_CELL, "nonlinear_hidden": 2}),
        [Phase(RelaxedPmf(2), Sequential(), steps=15, batch=3)],
    ),
    "score function": (
        Family("autoregressive", PER_CELL),
        [Phase(ScoreFunction(3), FixedPoint(), "hard", steps=15, batch=3, window=12, burn_in=3)],
    ),
    "multi-sample": (
        Family("factorised", {"recognition": PER_CELL["recognition"]}),
        [Phase(MultiSample(3), Sequential(), steps=15, batch=3)],
    ),
    "refined": (
        Family("refined", {"factorised": {"recognition": PER_CELL["recognition"]}, "steps": 3}),
        [Phase(RelaxedPmf(), Sequential(), relaxation="mean_field", steps=15, batch=3)],
    ),
}


@pytest.mark.parametrize("name", sorted(PANELS))
def test_a_panel_trains_each_cell_as_if_alone(name: str, noise_by_cell: Callable[[list[int]], None]) -> None:
    """Three cells of very different noise, clipped hard: clipping them together would slow the quiet ones."""
    family, phases = PANELS[name]
    x = traces(2, trials=5, bins=24, cells=3, dtype=torch.float32)
    start = parameters(3, 4)
    start.noise[:] = [0.1, 0.5, 2.0]
    whole = family.fresh(3, 8)
    initial = copy.deepcopy(whole)
    network = CalciumNetwork(start, 10.0, LEARNED)
    noise_by_cell([0, 1, 2])
    trainer = Trainer(network, whole, x, phases, 3)
    assert trainer.independent
    metrics = metrics_of(trainer)
    norms = []
    for n in range(3):
        noise_by_cell([n])
        one = CalciumNetwork(alone(start, n), 10.0, LEARNED)
        part = sliced(initial, n, family)
        single = metrics_of(Trainer(one, part, x[..., n : n + 1], phases, 3))
        norms.append(single[0]["gradient_norm"])
        for step, (together, apart) in enumerate(zip(metrics, single, strict=True)):
            assert together["loss_per_cell"][n] == pytest.approx(apart["loss"], rel=2e-3, abs=1e-4), (n, step)
        for key, value in part.state_dict().items():
            assert torch.allclose(whole.state_dict()[key][n : n + 1], value, atol=2e-3), (n, key)
        for key in LEARNED:
            assert torch.allclose(network.value(key)[n : n + 1], one.value(key), atol=2e-3), (n, key)
    assert metrics[0]["gradient_norm"] == pytest.approx(max(norms), rel=1e-4)
    assert max(norms) > 1.0 and max(norms) > 5 * min(norms), "clipping together would be no different"


def test_shared_weights_or_coupling_are_no_panel() -> None:
    x = traces(0, dtype=torch.float32)
    shared = Family("factorised", {"recognition": {"window": 2}}).fresh()
    own = Family("factorised", {"recognition": PER_CELL["recognition"]}).fresh()
    single, coupled = (CalciumNetwork(parameters(2, basis=basis), 10.0) for basis in (0, 1))
    assert [
        Trainer(m, p, x, [Phase(RelaxedPmf(), FixedPoint())], 0).independent
        for m, p in ((single, own), (single, shared), (coupled, own))
    ] == [
        True,
        False,
        False,
    ]


# ---------------------------------------------------------------- clipping


def gradients_of(values: list[list[float]]) -> list[torch.nn.Parameter]:
    made = []
    for value in values:
        parameter = torch.nn.Parameter(torch.zeros(len(value)))
        parameter.grad = torch.tensor(value)
        made.append(parameter)
    return made


def test_clipping_scales_all_together_or_each_cell_by_itself() -> None:
    together = gradients_of([[3.0, 0.0], [4.0, 0.6]])
    assert clip_gradients(together, 1.0, per_cell=False) == pytest.approx(25.36**0.5)
    assert torch.allclose(together[0].grad, torch.tensor([3.0, 0.0]) / 25.36**0.5, atol=1e-5)  # type: ignore[arg-type]
    each = gradients_of([[3.0, 0.0], [4.0, 0.6]])
    assert clip_gradients(each, 1.0, per_cell=True) == pytest.approx(5.0)
    assert torch.allclose(each[0].grad, torch.tensor([0.6, 0.0]))  # type: ignore[arg-type]
    assert torch.allclose(each[1].grad, torch.tensor([0.8, 0.6]))  # type: ignore[arg-type]


@pytest.mark.parametrize("per_cell", [True, False])
def test_no_clipping_leaves_gradients_alone(per_cell: bool) -> None:
    free = gradients_of([[300.0, 0.0], [400.0, 1e-9]])
    norm = clip_gradients(free, 0.0, per_cell)
    assert norm == pytest.approx(500.0)
    assert free[1].grad is not None and free[1].grad.tolist() == [400.0, pytest.approx(1e-9)]
    assert clip_gradients([torch.nn.Parameter(torch.zeros(2))], 1.0, per_cell) == 0.0
