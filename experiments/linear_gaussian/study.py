"""A linear-Gaussian network: where refinement ends, and how a planar flow closes what is left."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from dfp.belief.latents import Gaussian
from dfp.belief.linear_gaussian import LinearGaussian, random_linear_gaussian
from dfp.belief.refinement import climb_exactly
from dfp.core.ascent import Ascent
from dfp.core.errors import UserError
from dfp.core.noise import generator
from dfp.flows.chain import Chain
from dfp.results.study import Study
from dfp.results.tables import Row

#: ways of refining: exact gradients at a fixed rate with momentum; with a line search; gradients from samples
ROUTES = ("exact", "line_search", "sampled")
#: a fixed rate, as a share of 1 ÷ the largest curvature of the bound
STEADY = 0.5
#: Adam's first rate for flows
FLOW_RATE = 0.05


@dataclass(frozen=True)
class LinearGaussianStudy(Study):
    """Random models ``x = W h + b + noise ε`` (``belief/linear_gaussian.py``).

    Refinement is held against the best diagonal posterior, planar flows against the exact one.

    Attributes:
        units: sizes D of h.
        pixels: P.
        noise: standard deviation of the noise.
        seeds: a model each, W and b N(0, 1).
        trials: data x of each model that q is refined for.
        steps: numbers n of refinement steps that are looked at.
        samples: N of the gradients from samples.
        decay: of the rate of the gradients from samples, per step.
        flows: lengths K of the planar flow.
        flow_samples: fresh ones in every step of a flow's training.
        flow_steps: of that training.
        test_samples: fresh ones, by which a flow's gap is measured.
    """

    units: list[int] = field(default_factory=lambda: [2, 4])
    pixels: int = 6
    noise: float = 1.0
    seeds: list[int] = field(default_factory=lambda: list(range(10)))
    trials: int = 20
    steps: list[int] = field(default_factory=lambda: [0, 1, 5, 20, 100, 500])
    samples: int = 8
    decay: float = 0.99
    flows: list[int] = field(default_factory=lambda: [0, 1, 2, 4, 8])
    flow_samples: int = 256
    flow_steps: int = 1500
    test_samples: int = 50_000

    def __post_init__(self) -> None:
        for key, lowest in (("units", 1), ("seeds", 0), ("steps", 0), ("flows", 0)):
            found = getattr(self, key)
            if not found or len(set(found)) != len(found) or min(found) < lowest:
                raise UserError(
                    f"{key}: found {found}, expected different numbers of at least {lowest}, one or more"
                )
        for key in ("pixels", "trials", "samples", "flow_steps"):
            if getattr(self, key) < 1:
                raise UserError(f"{key}: found {getattr(self, key)}, expected at least 1")
        for key in ("flow_samples", "test_samples"):
            if getattr(self, key) < 2:
                raise UserError(f"{key}: found {getattr(self, key)}, expected at least 2")
        if not self.noise > 0 or not 0 < self.decay <= 1:
            raise UserError(
                f"noise, decay: found {self.noise}, {self.decay}, expected a noise above 0, a decay in (0, 1]"
            )

    def rows(self, device: torch.device) -> Iterator[Row]:
        """Refinement of every model by every route, then planar flows of every length."""
        for units in self.units:
            models = [
                random_linear_gaussian(units, self.pixels, self.noise, generator(seed, device))
                for seed in self.seeds
            ]
            for seed, model in zip(self.seeds, models, strict=True):
                yield self._row(units, seed, "formula", "gap", model.gap, 0)
                for route in ROUTES:
                    yield from self._refined(model, units, seed, route, device)
            yield from self._flows(models, units, device)

    def _row(self, units: int, seed: int, run: str, metric: str, value: float, count: int) -> dict[str, Any]:
        """``count``: steps of refinement, or maps of a flow."""
        return {
            "run": run,
            "dataset": f"D{units}",
            "seed": seed,
            "posterior": "planar" if run == "planar" else "diagonal",
            "units": units,
            "count": count,
            "metric": metric,
            "value": value,
        }

    def _refined(
        self, model: LinearGaussian, units: int, seed: int, route: str, device: torch.device
    ) -> Iterator[Row]:
        rng = generator(1000 + seed, device)
        x = model.simulate(self.trials, rng)
        path = refined_path(model, x, route, max(self.steps), self.samples, self.decay, rng)
        values = torch.stack([model.bound(x, zeta) for zeta in path])
        evidence = model.log_evidence(x)
        if len(values) > 1:
            fall = float((-values.diff(dim=0)).max())
            yield self._row(units, seed, route, "largest_fall", fall, max(self.steps))
        for step in self.steps:
            mean, log_sd = path[step].chunk(2, -1)
            scale = model.precision.diagonal()
            found = {
                "gap": evidence - values[step],
                "excess_gap": evidence - values[step] - model.gap,
                "mean_error": ((mean - model.mean(x)).abs() * scale.sqrt()).amax(-1),
                "variance_error": ((2 * log_sd).exp() * scale - 1).abs().amax(-1),
            }
            for metric, each in found.items():
                yield self._row(units, seed, route, metric, float(each.mean()), step)

    def _flows(self, models: list[LinearGaussian], units: int, device: torch.device) -> Iterator[Row]:
        for length in self.flows:
            fit = fit_planar(models, length, self.flow_samples, self.flow_steps, generator(7, device))
            rng = generator(8, device)
            x = torch.cat([model.simulate(1, rng) for model in models])
            weights = flow_weights(models, x, fit, self.test_samples, rng)
            for place, (seed, model) in enumerate(zip(self.seeds, models, strict=True)):
                own = weights[:, place]
                gap = float(model.log_evidence(x[place : place + 1])[0] - own.mean())
                yield self._row(units, seed, "planar", "gap", gap, length)
                error = float(own.std()) / math.sqrt(self.test_samples)
                yield self._row(units, seed, "planar", "gap_error", error, length)


def refined_path(
    model: LinearGaussian,
    x: Tensor,
    route: str,
    steps: int,
    samples: int,
    decay: float,
    rng: torch.Generator,
) -> list[Tensor]:
    """``[ζ_0, …, ζ_n]`` from the prior, by one of the ``ROUTES``.

    A fixed rate is half of 1 ÷ the largest curvature (that of the means is Λ, that of log σ is 2 at the
    best).
    """
    start = torch.zeros(len(x), model.latents.parameters, dtype=x.dtype, device=x.device)
    curvature = max(2.0, float(torch.linalg.eigvalsh(model.precision).max()))
    if route == "line_search":
        return climb_exactly(lambda zeta: model.bound(x, zeta), start, steps, 1 / curvature)

    def sampled(zeta: Tensor) -> Tensor:
        units = model.latents
        h = units.sample(zeta, units.noise((samples, len(x)), rng, x.dtype))
        log_sd = zeta.chunk(2, -1)[1]
        return model.log_joint(x, h).mean(0).sum() + log_sd.sum()

    def exact(zeta: Tensor) -> Tensor:
        return model.bound(x, zeta).sum()

    # with momentum 0.9 a rate counts for ten: noisy gradients get a tenth
    chosen = (exact, STEADY, 1.0) if route == "exact" else (sampled, STEADY / 10, decay)
    value, share, own_decay = chosen
    return [start, *Ascent(steps, share / curvature, 0.9, own_decay).path(value, start)]


class PlanarPosteriors(nn.Module):
    """R posteriors side by side: ``μ + s ⊙ ε`` of D units through K planar maps each.

    For K = 0 they are fully factorised.

    Args:
        count, units, length: R, D and K.
        rng: of the maps' initial parameters; the base starts at N(0, I).
    """

    def __init__(self, count: int, units: int, length: int, rng: torch.Generator) -> None:
        super().__init__()
        self.base = nn.Parameter(torch.zeros(count, 2 * units, device=rng.device))
        self.chain = Chain("planar", units, length, rng, batch=(count,))

    def draw(self, samples: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Samples ``(S, R, D)`` and their ``log q``, ``(S, R)``."""
        units = Gaussian(self.chain.dims)
        noise = units.noise((samples, len(self.base)), rng, self.base.dtype)
        start = units.sample(self.base, noise)
        z, log_det = self.chain(start)
        return z, units.log_prob(self.base, start) - log_det


def fit_planar(
    models: list[LinearGaussian], length: int, samples: int, steps: int, rng: torch.Generator
) -> PlanarPosteriors:
    """Planar flows near to the exact posteriors of the models, in the coordinates ``√Λ_ii (h − m(x))``.

    There the posterior is ``N(0, C⁻¹)``, C the precision scaled to a unit diagonal, whatever x: the bound's
    gap is ``KL(q ‖ N(0, C⁻¹))``. Adam follows its reparametrised gradient over fresh samples, from the best
    diagonal and maps near the identity; the rate falls to 0 by a cosine.

    One map is a shear where w and u are orthogonal and w is small; D − 1 shears are a Cholesky factor, so
    that no Gaussian posterior is out of reach for K ≥ D − 1.
    """
    scale = torch.stack([model.precision.diagonal().rsqrt() for model in models])
    c = torch.stack([model.precision for model in models]) * scale[:, :, None] * scale[:, None]
    fit = PlanarPosteriors(len(models), scale.shape[1], length, rng).to(c.dtype)
    adam = torch.optim.Adam(fit.parameters(), lr=FLOW_RATE)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
    for _ in range(steps):
        z, log_q = fit.draw(samples, rng)
        log_p = -0.5 * torch.einsum("sri,rij,srj->sr", z, c, z)
        adam.zero_grad()
        (log_q - log_p).mean(0).sum().backward()
        adam.step()
        cosine.step()
    return fit


@torch.no_grad()
def flow_weights(
    models: list[LinearGaussian], x: Tensor, fit: PlanarPosteriors, samples: int, rng: torch.Generator
) -> Tensor:
    """``log p(x, h) − log q(h)`` of fresh samples, ``(S, R)``, for one datum of each model, x ``(R, P)``.

    Their mean is the bound.
    """
    z, log_q = fit.draw(samples, rng)
    weights = []
    for place, model in enumerate(models):
        scale, at = model.precision.diagonal().rsqrt(), x[place : place + 1]
        h = model.mean(at) + scale * z[:, place, None]
        weights.append(model.log_joint(at, h)[:, 0] - log_q[:, place] + scale.log().sum())
    return torch.stack(weights, 1)
