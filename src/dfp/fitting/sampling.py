"""Hard samples of a fitted posterior."""

from __future__ import annotations

import torch
from torch import Tensor

from dfp.core.noise import generator
from dfp.distributions.law import SpikeLaw
from dfp.fitting.fitted import Fitted
from dfp.metrics.bounds import HardSamples, sample_hard
from dfp.objectives.base import Problem
from dfp.objectives.disarm import DisArm
from dfp.objectives.relaxed_pmf import RelaxedPmf
from dfp.objectives.score_function import ScoreFunction
from dfp.posteriors.refined import Refined
from dfp.samplers.base import Sampler
from dfp.samplers.fixed_point import FixedPoint
from dfp.training.step import bound_for


def condition(
    fitted: Fitted, x: Tensor, rng: torch.Generator, refinement_steps: int | None = None
) -> SpikeLaw:
    """The posterior for traces ``(B, T, N)``, refined first where the family is refined.

    Args:
        refinement_steps: for refined families, other than the configured number.
    """
    problem = Problem(fitted.model, x, torch.ones_like(x[:, :, :1]), fitted.independent)
    fitted.phases[-1].prepare(fitted.posterior, fitted.phases[-1].steps)
    if isinstance(fitted.posterior, Refined) and refinement_steps is not None:
        fitted.posterior.steps = refinement_steps
    trained = fitted.phases[-1].objective
    pathwise = not (isinstance(trained, ScoreFunction | DisArm) or trained.continuous)
    objective = trained if pathwise else RelaxedPmf()
    bound = bound_for(problem, objective, FixedPoint(), rng)
    return fitted.posterior.condition(x, bound, fitted.model.prior(*x.shape[:2])).q


def sample(
    fitted: Fitted,
    q: SpikeLaw,
    x: Tensor,
    rng: torch.Generator,
    samples: int | None = None,
    sweeps: int | None = None,
) -> HardSamples:
    """Exact hard samples of ``q`` for traces ``(B, T, N)``.

    Args:
        samples: how many; by default the configured number.
        sweeps: draw with exactly so many sweeps instead; such samples need not be exact.
    """
    settings = fitted.spec.evaluation
    with torch.no_grad():
        return sample_hard(
            fitted.model,
            q,
            x,
            samples or settings.samples,
            rng,
            independent=fitted.independent,
            sweeps=sweeps,
            max_sweeps=settings.max_sweeps or None,
            sampler=_sampler(fitted) if sweeps is None else None,
        )


def draw_samples(
    fitted: Fitted, x: Tensor, seed: int, samples: int | None = None, sweeps: int | None = None
) -> HardSamples:
    """``condition`` and ``sample`` with a generator of their own."""
    rng = generator(seed, x.device)
    return sample(fitted, condition(fitted, x, rng), x, rng, samples, sweeps)


def _sampler(fitted: Fitted) -> Sampler | None:
    """The sampler of an evaluation: that of the training, or None to sweep until nothing changes.

    None stands for a training that swept, however often. All samplers give the same samples.
    """
    last = fitted.phases[-1].sampler
    return None if isinstance(last, FixedPoint) else last
