"""A term of one's own that looks ahead: no sampler gives a sample of it without a word."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from dfp.core.noise import generator, logistic_noise
from dfp.distributions.causal_bernoulli import CausalBernoulli
from dfp.distributions.terms import CausalTerm
from dfp.samplers import auto as auto_module
from dfp.samplers.auto import Auto
from dfp.samplers.base import Sampler
from dfp.samplers.compiled import Compiled
from dfp.samplers.fixed_point import FixedPoint
from dfp.samplers.relaxations import Concrete, Hard, Relaxation


@dataclass(frozen=True)
class Neighbours(CausalTerm):
    """``−6 (z[t − 1] + z[t + 1])``, or without what is ahead: of no form that can be compiled."""

    ahead: bool

    @property
    def memory(self) -> int:
        return 1

    def __call__(self, z: Tensor) -> Tensor:
        before = torch.nn.functional.pad(z, (0, 0, 1, 0))[:, :, :-1]
        after = torch.nn.functional.pad(z, (0, 0, 0, 1))[:, :, 1:]
        return -6 * (before + after if self.ahead else before)

    def step(self, window: Tensor, t: int) -> Tensor:
        return -6 * window[:, :, -1]


def law(ahead: bool) -> tuple[CausalBernoulli, Tensor]:
    noise = logistic_noise((4, 1, 40, 2), generator(0), torch.float64)
    return CausalBernoulli(torch.ones(1, 40, 2, dtype=torch.float64), (Neighbours(ahead),)), noise


@pytest.mark.parametrize("relaxation", [Hard(), Concrete(0.1)])
@pytest.mark.parametrize("how", [Auto(), Compiled(), FixedPoint()])
def test_a_sample_of_a_term_that_looks_ahead_is_not_converged_and_said(
    how: Sampler, relaxation: Relaxation
) -> None:
    process, noise = law(ahead=True)
    with pytest.warns(
        UserWarning, match=f"sampler .*{'' if isinstance(how, Auto) else how.name}.*check_term"
    ):
        draw = how.draw(process, noise, relaxation)
    assert not draw.converged and draw.residual > 0


def test_auto_says_so_when_it_draws_bin_by_bin_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto_module, "expected_seconds", lambda *_: (0.0, 1.0))
    process, noise = law(ahead=True)
    how = Auto()
    how._seen[True] = (8.0, 0)
    with pytest.warns(UserWarning, match="sampler auto: .*check_term"):
        assert not how.draw(process, noise, Hard()).converged


@pytest.mark.parametrize("relaxation", [Hard(), Concrete(0.1)])
@pytest.mark.parametrize("how", [Auto(), FixedPoint()])
def test_a_causal_term_of_ones_own_is_sampled_without_a_word(how: Sampler, relaxation: Relaxation) -> None:
    process, noise = law(ahead=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert how.draw(process, noise, relaxation).converged


def test_compiled_says_that_it_cannot_compile_a_term() -> None:
    process, noise = law(ahead=False)
    with pytest.warns(UserWarning, match="found a process with a term that it does not know.*'auto'"):
        draw = Compiled().draw(process, noise, Hard())
    assert draw.converged
    assert torch.equal(draw.z, FixedPoint().draw(process, noise, Hard()).z)
