"""Combinations without meaning are refused with a sentence: objective, relaxation, sampler, posterior."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from cases import Family

from dfp.core.errors import UserError
from dfp.objectives.disarm import DisArm
from dfp.objectives.logistic_density import LogisticDensity
from dfp.objectives.multi_sample import MultiSample
from dfp.objectives.relaxed_pmf import RelaxedPmf
from dfp.objectives.score_function import ScoreFunction
from dfp.samplers.compiled import Compiled
from dfp.samplers.fixed_point import FixedPoint
from dfp.samplers.newton import Newton
from dfp.samplers.sequential import Sequential
from dfp.training.phase import Phase


def refined(steps: int = 3, **settings: Any) -> Family:
    return Family("refined", {"steps": steps, **settings})


_REFUSED: list[tuple[str, Callable[[], Any]]] = [
    ("one sample of a multi-sample bound", lambda: MultiSample(1)),
    ("multi-sample of the score function", lambda: MultiSample(4, of="score_function")),
    ("a score function without baseline", lambda: ScoreFunction(1)),
    ("a negative reward window", lambda: ScoreFunction(4, reward_window=-1)),
    ("no antithetic pair", lambda: DisArm(0)),
    ("antithetic pairs of relaxed samples", lambda: Phase(DisArm(), FixedPoint())),
    (
        "antithetic pairs of an autoregressive posterior",
        lambda: Phase(DisArm(), FixedPoint(), relaxation="hard").check(
            Family("autoregressive", {"history": 3}).fresh()
        ),
    ),
    (
        "antithetic pairs of a logistic flow",
        lambda: Phase(DisArm(), FixedPoint(), relaxation="hard").check(Family("logistic_flow", {}).fresh()),
    ),
    (
        "refining on antithetic pairs",
        lambda: Phase(DisArm(), FixedPoint(), relaxation="hard").check(refined().fresh()),
    ),
    ("no sample", lambda: RelaxedPmf(0)),
    ("no sample of the density", lambda: LogisticDensity(0)),
    ("an unknown entropy", lambda: RelaxedPmf(1, entropy="exact")),
    ("relaxed pmf on hard samples", lambda: Phase(RelaxedPmf(), FixedPoint(), relaxation="hard")),
    ("multi-sample on hard samples", lambda: Phase(MultiSample(), FixedPoint(), relaxation="hard")),
    ("multi-sample of equal samples", lambda: Phase(MultiSample(), FixedPoint(), relaxation="mean_field")),
    ("score function on relaxed samples", lambda: Phase(ScoreFunction(), FixedPoint())),
    ("score function on means", lambda: Phase(ScoreFunction(), FixedPoint(), relaxation="mean_field")),
    ("a density of hard samples", lambda: Phase(LogisticDensity(), FixedPoint(), relaxation="hard")),
    (
        "a density of straight-through",
        lambda: Phase(LogisticDensity(), FixedPoint(), relaxation="straight_through"),
    ),
    (
        "a density of means",
        lambda: Phase(MultiSample(of="logistic_density"), FixedPoint(), relaxation="mean_field"),
    ),
    (
        "a logistic flow by the pmf",
        lambda: Phase(RelaxedPmf(), FixedPoint()).check(Family("logistic_flow", {}).fresh()),
    ),
    (
        "a logistic flow by the pmf, multi-sample",
        lambda: Phase(MultiSample(), FixedPoint()).check(Family("logistic_flow", {}).fresh()),
    ),
    (
        "a logistic flow by the score function",
        lambda: Phase(ScoreFunction(), FixedPoint(), relaxation="hard").check(
            Family("logistic_flow", {}).fresh()
        ),
    ),
    ("refining on the density", lambda: Phase(LogisticDensity(), FixedPoint()).check(refined().fresh())),
    (
        "refining on the density, multi-sample",
        lambda: Phase(MultiSample(of="logistic_density"), FixedPoint()).check(refined().fresh()),
    ),
    (
        "refining on the score function",
        lambda: Phase(ScoreFunction(), FixedPoint(), relaxation="hard").check(refined().fresh()),
    ),
    (
        "differentiating an implicit gradient",
        lambda: Phase(RelaxedPmf(), FixedPoint()).check(refined(of="autoregressive", through=True).fresh()),
    ),
    (
        "differentiating a compiled gradient twice",
        lambda: Phase(RelaxedPmf(), Compiled()).check(refined(of="autoregressive", through=True).fresh()),
    ),
    (
        "differentiating the gradient of Newton's method twice",
        lambda: Phase(RelaxedPmf(), Newton()).check(refined(of="autoregressive", through=True).fresh()),
    ),
    (
        "refinement steps without a refinement",
        lambda: Phase(RelaxedPmf(), FixedPoint(), refinement_steps=2).check(Family("factorised", {}).fresh()),
    ),
    ("negative refinement steps", lambda: Phase(RelaxedPmf(), FixedPoint(), refinement_steps=-1)),
    ("an unknown relaxation", lambda: Phase(RelaxedPmf(), FixedPoint(), relaxation="concret")),
]


@pytest.mark.parametrize("make", [make for _, make in _REFUSED], ids=[name for name, _ in _REFUSED])
def test_combinations_without_meaning_are_refused_with_a_sentence(make: Callable[[], Any]) -> None:
    with pytest.raises(UserError) as refusal:
        make()
    told = str(refusal.value)
    assert "\n" not in told and len(told) < 300
    assert ("found" in told and "expected" in told) or "known:" in told


def test_combinations_with_meaning_are_accepted() -> None:
    for of, posterior in (
        ("logistic_density", "logistic_flow"),
        ("relaxed_pmf", "autoregressive"),
        ("logistic_density", "factorised"),
    ):
        Phase(MultiSample(of=of), FixedPoint()).check(Family(posterior, {}).fresh())
    Phase(LogisticDensity(), Sequential()).check(Family("logistic_flow", {}).fresh())
    Phase(MultiSample(), FixedPoint(), relaxation="straight_through").check(refined().fresh())
    Phase(ScoreFunction(), FixedPoint(), relaxation="hard", refinement_steps=0).check(refined().fresh())
    for name, settings in (("factorised", {}), ("autoregressive", {"history": 0})):
        Phase(DisArm(), FixedPoint(), relaxation="hard").check(Family(name, settings).fresh())
    for gradient, of in itertools.product(("implicit", "unrolled"), ("factorised", "autoregressive")):
        through = gradient == "unrolled" or of == "factorised"
        Phase(RelaxedPmf(), FixedPoint(gradient=gradient)).check(refined(of=of, through=through).fresh())
