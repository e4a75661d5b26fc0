"""The ledgers of one data set: its posteriors trained, their references, and the steps between the bounds."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from dfp.config.build import make_phases, make_posterior, posterior_config, posteriors
from dfp.config.schema import RunSpec
from dfp.core.errors import NumericalError
from dfp.core.noise import generator
from dfp.data.dataset import Dataset
from dfp.distributions.causal_bernoulli import CausalBernoulli
from dfp.metrics.bounds import sample_hard
from dfp.models.calcium import CalciumNetwork
from dfp.objectives.base import Problem
from dfp.objectives.relaxed_pmf import RelaxedPmf
from dfp.objectives.score_function import ScoreFunction
from dfp.posteriors.base import Posterior, TraceSummary
from dfp.posteriors.factorised import Factorised
from dfp.posteriors.refined import Refined
from dfp.posteriors.twisted import Twisted
from dfp.references.exact.enumerated import (
    EnumeratedElbo,
    chained_elbo,
    exact_elbo,
    log_joint,
    log_probability,
    paths_of,
)
from dfp.references.exact.network import ExactNetworkPosterior, NetworkParameters
from dfp.references.exact.one_cell import CellParameters, ExactPosterior
from dfp.samplers.fixed_point import FixedPoint
from dfp.samplers.relaxations import Hard
from dfp.training.loop import Trainer
from dfp.training.phase import Phase
from dfp.training.step import bound_for

from .best import best_drives, best_members
from .laws import detached, of_trials, take_weights
from .members import FamilyMembers
from .sweep_law import law_after_sweeps, noise_cells
from .twisted import members_of

#: nats by which the steps of a trial may miss the total that is computed by another route
CLOSES = 1e-6
#: standard errors by which the bound from hard samples may miss the exact one
ERRORS = 6.0
STEPS = ("family", "amortisation", "objective", "sweeps")


@dataclass(frozen=True)
class Effort:
    """How much work is done for a ledger, see ``Ledger``.

    Random starts and steps of the search for the best member, hard samples a trial, and further numbers of
    sweeps.
    """

    starts: int
    search_steps: int
    samples: int
    sweeps: tuple[int, ...]


@dataclass(frozen=True)
class Trained:
    """A run's posterior in float64, its law on the test traces, and the sweeps it is sampled with."""

    posterior: Posterior
    phases: list[Phase]
    q: CausalBernoulli
    steps: int

    @property
    def sweeps(self) -> int | None:
        """Its own number of sweeps; None where it is swept until nothing changes, or sampled bin by bin."""
        sampler = self.phases[-1].sampler
        return sampler.sweeps if isinstance(sampler, FixedPoint) and self.q.memory else None


@dataclass(frozen=True)
class Bounds:
    """What the runs of a family are held against, exact bounds in nats, ``(M,)`` each.

    Attributes:
        best: of the best members, each trace's weights its own.
        shared: with the amortised posterior's weights, but each trace's best drive.
        amortised: of the recognition network trained on the exact bound.
    """

    best: Tensor
    shared: Tensor
    amortised: Tensor


class Problems:
    """All ledgers on one data set: a panel of cells or one network."""

    def __init__(
        self, effort: Effort, data: Dataset, specs: Mapping[str, RunSpec], device: torch.device
    ) -> None:
        self.effort, self.data, self.specs, self.device = effort, data, specs, device
        model = CalciumNetwork(data.start, data.bin_rate, kernel_bins=data.kernel_bins).to(device)
        self.training_model, self.model = model, copy.deepcopy(model).double()
        self.independent = not model.couples_cells
        self.train_x = torch.as_tensor(data.x, device=device)
        self.x = torch.as_tensor(data.x_test, dtype=torch.float64, device=device)
        self.paths = paths_of(self.x, self.independent)
        #: what a group's paths look like by themselves, (P, T, C)
        self.group_paths = self.paths[:, 0, :, :1] if self.independent else self.paths[:, 0]
        with torch.no_grad():
            self.log_p = log_joint(self.model, self.x, self.paths, self.independent).flatten(1)

    def rows(self) -> Iterator[dict[str, Any]]:
        """The rows of all runs."""
        trained: dict[str, Trained] = {}
        for run in self.specs:
            self._train(run, trained)
        references = self._references(trained)
        evidence = self._evidence()
        for run, made in trained.items():
            found = self._ledger(made, references[self._family(run)], evidence, run)
            yield from self._rows(run, found)
            yield from self._at_sweeps(run, made)

    # ------------------------------------------------------------ training

    def _train(self, run: str, trained: dict[str, Trained]) -> Trained:
        """Train ``run``, after the run that it starts from."""
        if run in trained:
            return trained[run]
        spec = self.specs[run]
        start = None if spec.warm_start is None else self._train(spec.warm_start, trained)
        phases = make_phases(spec, run)
        posterior = self._fresh(spec)
        if start is not None:
            take_weights(posterior, start.posterior)
        self._fit(posterior, phases, spec)
        posterior.double()
        q = self._condition(posterior, phases[-1])
        steps = sum(phase.steps for phase in phases) + (start.steps if start else 0)
        trained[run] = Trained(posterior, phases, q, steps)
        return trained[run]

    def _seed(self, spec: RunSpec) -> int:
        return spec.seed + int(self.data.seed[0])

    def _fresh(self, spec: RunSpec) -> Posterior:
        summary = TraceSummary.of(torch.as_tensor(self.data.x))
        return make_posterior(spec.posterior, summary, generator(self._seed(spec)), "posterior").to(
            self.device
        )

    def _fit(self, posterior: Posterior, phases: list[Phase], spec: RunSpec) -> None:
        trainer = Trainer(self.training_model, posterior, self.train_x, phases, seed=self._seed(spec))
        for _ in trainer.run():
            pass

    def _condition(self, posterior: Posterior, last: Phase) -> CausalBernoulli:
        """The law on the test traces, refined first where the posterior is, on seeded noise."""
        problem = Problem(self.model, self.x, torch.ones_like(self.x[:, :, :1]), self.independent)
        last.prepare(posterior, last.steps)
        objective = last.objective
        if isinstance(objective, ScoreFunction) or objective.continuous:
            objective = RelaxedPmf()
        rng = generator(10_000 + int(self.data.seed[0]), self.device)
        bound = bound_for(problem, objective, FixedPoint(), rng)
        q = posterior.condition(self.x, bound, self.model.prior(*self.x.shape[:2])).pmf
        return detached(q)

    # ------------------------------------------------------------ references

    def _family(self, run: str) -> tuple[str, Any]:
        """What a run's law is a member of: the family of its discrete samples, with its settings."""
        cls, config = posterior_config(self.specs[run].posterior, run)
        if issubclass(cls, Refined):
            return config.of, getattr(config, config.of)
        for kind in (Factorised, Twisted):
            if issubclass(cls, kind):
                return kind.name, config
        return "autoregressive", config

    def _references(self, trained: Mapping[str, Trained]) -> dict[tuple[str, Any], Bounds]:
        """For every family the bounds that its runs are held against.

        The amortised network starts from the same weights as the family's runs, and takes as many steps as
        the longest of them, of the same batches and learning rates.
        """
        runs: dict[tuple[str, Any], list[str]] = {}
        for run in trained:
            runs.setdefault(self._family(run), []).append(run)
        found: dict[tuple[str, Any], Bounds] = {}
        best: list[FamilyMembers] = []
        for family, named in sorted(runs.items(), key=lambda item: _size(trained[item[1][0]].q)):
            longest = max(named, key=lambda run: trained[run].steps)
            first = min(named, key=lambda run: trained[run].steps)
            amortised = self._exactly_trained(family, first, trained[longest].steps)
            own = members_of(amortised, self.independent)
            drives, shared = best_drives(self.log_p, self.group_paths, own, self.effort.search_steps)
            starts = [own, drives, *(members_of(trained[run].q, self.independent) for run in named)]
            starts += [smaller.within(own) for smaller in best if smaller.fits_in(own)]
            members, reached = best_members(
                self.log_p,
                self.group_paths,
                starts,
                self.effort.starts,
                generator(int(self.data.seed[0]), self.device),
                self.effort.search_steps,
            )
            best.append(members)
            found[family] = Bounds(reached, shared, self._elbo(self._log_q(amortised)))
        return found

    def _exactly_trained(self, family: tuple[str, Any], run: str, steps: int) -> CausalBernoulli:
        """The family's recognition network, trained on the exact bound."""
        spec = self.specs[run]
        phase = replace(
            make_phases(spec, run)[0],
            objective=EnumeratedElbo(),
            sampler=FixedPoint(),
            relaxation="hard",
            steps=steps,
            refinement_steps=None,
        )
        kind, config = family
        summary = TraceSummary.of(torch.as_tensor(self.data.x))
        posterior = posteriors()[kind](config, summary, generator(self._seed(spec)))
        posterior.to(self.device)
        self._fit(posterior, [phase], spec)
        return self._condition(posterior.double(), phase)

    @torch.no_grad()
    def _evidence(self) -> Tensor:
        """``log p(x)`` by forward-backward, ``(M,)`` nats: another route than the sum over paths."""
        bins = self.x.shape[1]
        value = self.model.value
        names = ("bias", "history", "amplitude", "baseline", "noise")
        shared = {name: value(name) for name in names} | {"kernel": self.model.kernel(bins)}
        if self.independent:
            return ExactPosterior(CellParameters(**shared), self.x).log_evidence.flatten()
        coupled = NetworkParameters(**shared, coupling=value("coupling"), basis=self.model.basis)
        return ExactNetworkPosterior(coupled, self.x).log_evidence

    # ------------------------------------------------------------ the ledger

    @torch.no_grad()
    def _log_q(self, q: CausalBernoulli) -> Tensor:
        return log_probability(q, self.paths, self.independent).flatten(1)

    def _elbo(self, log_q: Tensor) -> Tensor:
        """The exact bound of a law over paths ``(P, M)``: ``(M,)`` nats."""
        return exact_elbo(log_q, self.log_p)

    @torch.no_grad()
    def _ledger(self, made: Trained, held_against: Bounds, evidence: Tensor, run: str) -> dict[str, Tensor]:
        """The bounds and their differences, by metric, ``(M,)`` each."""
        own = self._elbo(self._log_q(made.q))
        final, again = own, chained_elbo(self.model, made.q, self.x, self.independent).flatten()
        if made.sweeps is not None:
            law = law_after_sweeps(members_of(made.q, self.independent).logits(self.group_paths), made.sweeps)
            final, again = self._elbo(law.log()), self._elbo(self._sampler_law(made.q, made.sweeps).log())
        best, shared, amortised = held_against.best, held_against.shared, held_against.amortised
        bounds = [self.log_p.logsumexp(0), best, amortised, own, final]
        steps = torch.stack([above - below for above, below in itertools.pairwise(bounds)])
        error = close(steps, evidence - again, f"{run} on seed {int(self.data.seed[0])}")
        named = zip(
            ("log_evidence", "elbo_best", "elbo_amortised", "elbo_trained", "elbo"), bounds, strict=True
        )
        found = dict(named) | {f"gap_{name}": step for name, step in zip(STEPS, steps, strict=True)}
        found["gap_sharing"] = best - shared
        return found | {"gap": evidence - final, "closing_error": error, **self._sampled(made.q, own, run)}

    def _sampler_law(self, q: CausalBernoulli, sweeps: int) -> Tensor:
        """The law of K sweeps by the production sampler, on one noise of every piece of the partition."""
        logits = members_of(q, self.independent).logits(self.group_paths)
        law = torch.zeros_like(self.log_p)
        numbers = 2 ** torch.arange(self.group_paths[0].numel(), device=self.device)
        groups = self.x.shape[2] if self.independent else 1
        for first, pieces in noise_cells(logits, sweeps, multiple=groups):
            count = pieces.mass.shape[1]
            some = slice(first // groups, (first + count) // groups)
            noise = pieces.noise.unflatten(1, (-1, groups))  # (R, B', G, T, C)
            noise = noise.squeeze(-1).transpose(2, 3) if self.independent else noise[:, :, 0]
            z = of_trials(q, some).draw(noise, FixedPoint(sweeps=sweeps), Hard()).z.long()
            grouped = z.transpose(2, 3) if self.independent else z.flatten(2)[:, :, None]
            codes = (grouped * numbers).sum(-1).flatten(1)
            law[:, first : first + count].scatter_add_(0, codes, pieces.mass)
        return law

    def _sampled(self, q: CausalBernoulli, own: Tensor, run: str) -> dict[str, Tensor]:
        """The bound of converged samples by production code, with its standard error, ``(M,)`` each."""
        rng = generator(20_000 + int(self.data.seed[0]), self.device)
        drawn = sample_hard(self.model, q, self.x, self.effort.samples, rng, independent=self.independent)
        weights = drawn.log_weights if self.independent else drawn.log_weights[..., :1]
        mean = weights.mean(0).flatten()
        error = (weights.std(0) / math.sqrt(self.effort.samples)).flatten()
        off = float((mean - own).mean().abs() / error.square().mean().div(len(own)).sqrt().clamp_min(1e-12))
        if not off <= ERRORS:
            raise NumericalError(
                f"ledger: {run}: the bound from hard samples is {off:.1f} standard errors off the "
                "enumerated one"
            )
        return {"elbo_sampled": mean, "elbo_sampled_error": error}

    @torch.no_grad()
    def _at_sweeps(self, run: str, made: Trained) -> Iterator[dict[str, Any]]:
        """What exactly K sweeps cost, and what weighing them by q instead of by q_K overstates."""
        if not made.q.memory:
            return
        logits = members_of(made.q, self.independent).logits(self.group_paths)
        log_q = self._log_q(made.q)
        own = self._elbo(log_q)
        for sweeps in self.effort.sweeps:
            law = law_after_sweeps(logits, sweeps)
            divergence = -exact_elbo(law.log(), log_q)
            found = {"gap_at_sweeps": own - self._elbo(law.log()), "overstated_at_sweeps": divergence}
            yield from self._rows(run, found, sweeps=sweeps)

    def _rows(self, run: str, found: Mapping[str, Tensor], **labels: Any) -> Iterator[dict[str, Any]]:
        """Rows: the mean over test trials of every metric, for each cell of a panel or for the network."""
        spec = self.specs[run]
        phase = make_phases(spec, run)[-1]
        common = {
            "run": run,
            "posterior": spec.posterior["kind"],
            "objective": phase.objective.name,
            "sampler": phase.sampler.name,
            "bins": self.x.shape[1],
            "cells": self.group_paths.shape[2],
            **spec.labels,
            **labels,
        }
        for metric, values in found.items():
            means = values.reshape(self.x.shape[0], -1)
            means = means.amax(0) if metric == "closing_error" else means.mean(0)
            if metric == "elbo_sampled_error":  # of the mean over trials
                means = values.reshape(self.x.shape[0], -1).square().sum(0).sqrt() / self.x.shape[0]
            for seed, value in zip(self.data.seed, means.tolist(), strict=False):
                yield {**common, "seed": int(seed), "metric": metric, "value": value}


def close(steps: Tensor, total: Tensor, where: str) -> Tensor:
    """By how much the steps ``(4, M)`` miss the total ``(M,)``, nats a trial, ``(M,)``.

    Raises:
        NumericalError: where they miss it by more than ``CLOSES``, or where one of the first two, which are
            differences from a maximum, is below 0 by more.
    """
    error = (steps.sum(0) - total).abs()
    if not bool((error <= CLOSES).all()):
        raise NumericalError(
            f"ledger: {where}: the steps miss the gap by up to {float(error.max()):.2g} nats, expected at "
            f"most {CLOSES:g}"
        )
    if bool((steps[:2] < -CLOSES).any()):
        raise NumericalError(
            f"ledger: {where}: a bound is {-float(steps[:2].min()):.2g} nats above one that it cannot exceed"
        )
    return error


def _size(q: CausalBernoulli) -> tuple[int, int]:
    """Families in the order in which they may hold each other."""
    return len(q.terms), q.memory
