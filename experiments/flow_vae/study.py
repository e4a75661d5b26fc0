"""A VAE with flow posteriors on binary images: its bound against flow length (Rezende & Mohamed 2015)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from dfp.core.errors import NumericalError, UserError
from dfp.core.noise import generator
from dfp.results.study import Study
from dfp.results.tables import Row
from dfp.training.optimiser import Adam
from dfp.training.schedules import Schedule

from ..belief_network.digits import ImageSet, ImageSource
from ..flows.fits import LAST, temperature
from ..flows.study import FlowSpec
from .vae import FlowVae

#: samples that are evaluated at once
CHUNK = 10


@dataclass(frozen=True)
class FlowVaeStudy(Study):
    """VAEs that differ in their posteriors' flows only, from several seeds.

    A seed's weights, minibatches and noise are the same for every flow, so that differences are paired.

    Attributes:
        flows: kinds of flow by name, which is the table's run; the posterior without flows is the run
            ``none``, at length 0.
        lengths: K, each above 0.
        images: where they come from.
        seeds: of initial weights, minibatches and noise.
        latents, hidden: D and hidden units of encoder and decoder.
        steps, batch: of Adam; images a step, with one sample of z each.
        rate: of the posterior without flows; a flow has its own.
        anneal: share of the steps over which β rises to 1 (0: β = 1 throughout).
        samples: of z, an image, in evaluation.
        evaluated: test images, and as many training images, at most (0: all test images).

    Raises:
        UserError: for a setting without meaning, naming it.
    """

    flows: dict[str, FlowSpec]
    lengths: list[int]
    images: ImageSource = field(default_factory=ImageSource)
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2, 3, 4])
    latents: int = 8
    hidden: int = 100
    steps: int = 2_000
    batch: int = 100
    rate: float = 1e-2
    anneal: float = 0.0
    samples: int = 100
    evaluated: int = 0

    def __post_init__(self) -> None:
        if not self.flows:
            raise UserError("flows: found none, expected at least one kind of flow")
        if "none" in self.flows:
            raise UserError("flows: found the name 'none', which is that of the posterior without flows")
        for key in ("lengths", "seeds"):
            found = getattr(self, key)
            if not found or len(set(found)) != len(found):
                raise UserError(f"{key}: found {found}, expected a list of different values, at least one")
        if min(self.lengths) < 1:
            raise UserError(f"lengths: found {min(self.lengths)}, expected numbers of at least 1")
        for key, lowest in (("latents", 1), ("hidden", 1), ("steps", 1), ("batch", 1), ("evaluated", 0)):
            if getattr(self, key) < lowest:
                raise UserError(f"{key}: found {getattr(self, key)}, expected at least {lowest}")
        if self.samples < CHUNK or self.samples % CHUNK:
            raise UserError(f"samples: found {self.samples}, expected a multiple of {CHUNK}")
        if not self.rate > 0 or not 0 <= self.anneal <= 1:
            raise UserError(
                f"rate, anneal: found {self.rate:g}, {self.anneal:g}, expected a number above 0 and a share"
            )

    def rows(self, device: torch.device) -> Iterator[Row]:
        """``bound``, ``evidence`` (importance-weighted), their difference ``gap``, and ``train_bound``.

        The first three are of test images; all are nats per image, by flow, seed and label ``length``.
        """
        images = self.images.load()
        plain = FlowSpec("planar", rate=self.rate)
        runs = [("none", plain, 0)]
        runs += [(name, spec, length) for name, spec in self.flows.items() for length in self.lengths]
        for name, spec, length in runs:
            vae = self._trained(images, spec, length, device)
            for metric, values in self._scores(images, vae, device).items():
                for seed, value in zip(self.seeds, values.tolist(), strict=True):
                    labels = {"run": name, "dataset": self.images.kind, "seed": seed, "length": length}
                    yield labels | {"metric": metric, "value": value}

    def _trained(self, images: ImageSet, spec: FlowSpec, length: int, device: torch.device) -> FlowVae:
        train = torch.as_tensor(images.train, device=device)
        vae = FlowVae(
            train.shape[1],
            self.latents,
            self.hidden,
            spec.kind,
            length,
            spec.constraint,
            _streams(self.seeds, 0, device),
            train.mean(0),
        )
        optimiser, rate = Adam([(vae.parameters(), 1.0)]), Schedule(spec.rate, LAST * spec.rate, "cosine")
        streams = _streams(self.seeds, 1, device)
        for step in range(self.steps):
            rows = [torch.randint(len(train), (self.batch,), generator=one, device=device) for one in streams]
            bound = vae(train[torch.stack(rows)], _noise(streams, 1, self.batch, self.latents))
            loss = -bound.elbo(temperature(step, self.steps, self.anneal)).mean(1)
            optimiser.zero_grad()
            loss.sum().backward()
            optimiser.step(rate.at(step, self.steps))
        if not bool(loss.isfinite().all()):
            raise NumericalError(f"{spec.kind} flow, K = {length}: the bound is not finite")
        return vae

    @torch.no_grad()
    def _scores(self, images: ImageSet, vae: FlowVae, device: torch.device) -> dict[str, Tensor]:
        vae = vae.double()
        count = min(self.evaluated or len(images.test), len(images.test))
        test, train = (
            torch.as_tensor(part[:count], device=device).double().expand(len(self.seeds), -1, -1)
            for part in (images.test, images.train)
        )
        bound, evidence = self._evaluated(vae, test, _streams(self.seeds, 2, device))
        learned, _ = self._evaluated(vae, train, _streams(self.seeds, 3, device))
        return {"bound": bound, "evidence": evidence, "gap": evidence - bound, "train_bound": learned}

    def _evaluated(
        self, vae: FlowVae, x: Tensor, streams: Sequence[torch.Generator]
    ) -> tuple[Tensor, Tensor]:
        """Mean bound and importance-weighted bound of images, by seed."""
        bounds, evidences = [], []
        for _ in range(self.samples // CHUNK):
            found = vae(x, _noise(streams, CHUNK, x.shape[1], self.latents).double())
            bounds.append(found.elbo())
            evidences.append(found.evidence())
        weighted = torch.stack(evidences)
        evidence = weighted.logsumexp(0) - torch.tensor(float(len(weighted))).log()
        return torch.stack(bounds).mean((0, 2)), evidence.mean(1)


def _streams(seeds: Sequence[int], use: int, device: torch.device) -> list[torch.Generator]:
    """A generator for every seed, another for every use."""
    return [generator(10 * seed + use, device) for seed in seeds]


def _noise(streams: Sequence[torch.Generator], samples: int, images: int, latents: int) -> Tensor:
    """``(S, R, B, D)`` standard normal, each seed's from its own generator."""
    size = (samples, images, latents)
    return torch.stack([torch.randn(size, generator=one, device=one.device) for one in streams], 1)
