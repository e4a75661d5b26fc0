"""A trained posterior with its model: how it is made, saved and read back."""

from __future__ import annotations

import copy
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dfp.config.build import make_phases, make_posterior
from dfp.config.schema import RunSpec
from dfp.core.errors import UserError
from dfp.core.files import atomic_path
from dfp.core.noise import generator
from dfp.core.parse import build
from dfp.data.dataset import Dataset
from dfp.data.preprocess import initial_estimates
from dfp.data.told import as_told
from dfp.fitting.facts import Facts
from dfp.models.base import ObservationModel, Parameters, require_kind
from dfp.models.kinds import DEFAULT
from dfp.models.served import EXACT, GUESSES
from dfp.posteriors.base import Posterior, TraceSummary
from dfp.training.phase import Phase

FORMAT = 1


@dataclass(frozen=True)
class Fitted:
    """A model and a posterior that belong together.

    Attributes:
        facts: of the run.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(100, 1))
        >>> brief = {"cells": {"phases": [{"steps": 2}], "evaluation": {"samples": 4, "iwae_samples": 4}}}
        >>> fitted = dfp.fit(x, 30, decay=0.4, settings=brief, progress=False).fitted()
        >>> isinstance(fitted, dfp.Fitted), fitted.model.cells, fitted.posterior.name
        (True, 1, 'autoregressive')
    """

    model: ObservationModel
    posterior: Posterior
    spec: RunSpec
    phases: list[Phase]
    facts: Facts

    @property
    def independent(self) -> bool:
        """Whether every cell is a problem of its own."""
        return self.posterior.per_cell and not self.model.couples_cells

    def double(self, device: torch.device | None = None) -> Fitted:
        """A copy in float64, on ``device`` where one is given."""
        model, posterior = copy.deepcopy(self.model).double(), copy.deepcopy(self.posterior).double()
        return replace(self, model=model.to(device), posterior=posterior.to(device))

    def payload(self, summary: dict[str, float]) -> dict[str, Any]:
        """What a checkpoint holds: plain values and tensors on the CPU that later training leaves alone."""
        parameters = self.model.parameters_now()
        return {
            "format": FORMAT,
            "facts": self.facts.plain(),
            "kind": self.model.name,
            "summary": summary,
            "bin_rate": self.model.bin_rate,
            "kernel_bins": self.model.kernel_bins,
            "learn": list(self.model.learned),
            "parameters": {f.name: torch.as_tensor(getattr(parameters, f.name)) for f in fields(parameters)},
            "posterior": {
                name: value.detach().cpu().clone() for name, value in self.posterior.state_dict().items()
            },
        }

    def save(self, path: Path | str, summary: dict[str, float]) -> None:
        """Write a checkpoint, whole or not at all."""
        write_payload(self.payload(summary), path)


def write_payload(payload: dict[str, Any], path: Path | str) -> None:
    """Write a checkpoint, whole or not at all."""
    with atomic_path(path) as temporary:
        torch.save(payload, temporary)


def choose_device(name: str | torch.device) -> torch.device:
    """The device called ``device``; ``auto`` is CUDA where there is one, else the CPU.

    Raises ``UserError`` where CUDA is asked for and there is none.
    """
    if isinstance(name, torch.device):
        return name
    if name not in ("auto", "cpu", "cuda"):
        raise UserError(f"device: found {name!r}, expected auto, cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "device: found 'cuda' on a machine without a usable CUDA device, expected auto or cpu"
        )
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def fresh(facts: Facts, data: Dataset, device: torch.device) -> Fitted:
    """An untrained model and posterior for a data set.

    Weights are drawn on the CPU, so that they are the same on every device.
    """
    where = f"{facts.experiment} ({facts.scale}): runs.{facts.run}"
    spec = build(RunSpec, facts.settings, where)
    _check_kinds(spec, data, where)
    kind = spec.model.observation().kind
    model = kind(_start(spec, data), data.bin_rate, _learnable(spec, data), data.kernel_bins).to(device)
    summary = TraceSummary.of(torch.as_tensor(data.x))
    seed = spec.seed + int(data.seed[0])
    posterior = make_posterior(spec.posterior, summary, generator(seed), f"{where}.posterior").to(device)
    return Fitted(model, posterior, spec, make_phases(spec, where), facts)


def load(path: Path | str, device: str | torch.device = "auto") -> Fitted:
    """Read a checkpoint of ``dfp fit`` or ``dfp train`` back, model and posterior on ``device``.

    Example:
        >>> try:
        ...     dfp.load("nowhere/checkpoint.pt")
        ... except dfp.UserError as error:
        ...     print(error)
        nowhere/checkpoint.pt: no such checkpoint (make it with `dfp train`)

    Raises:
        UserError: when the file is missing, is not a checkpoint, or was written by another version.
    """
    return restored(read_payload(path), path, choose_device(device))


def read_payload(path: Path | str) -> dict[str, Any]:
    """What a checkpoint holds; ``UserError`` as in ``load``."""
    try:
        payload = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{path}: no such checkpoint (make it with `dfp train`)") from None
    except Exception:  # torch raises many kinds, with advice for its own developers
        raise UserError(
            f"{path}: not a checkpoint of dfp, or a damaged one (make it with `dfp train`)"
        ) from None
    if not isinstance(payload, dict) or payload.get("format") != FORMAT:
        found = payload.get("format") if isinstance(payload, dict) else type(payload).__name__
        raise UserError(f"{path}: found checkpoint format {found}, expected {FORMAT}")
    needed = ("facts", "bin_rate", "kernel_bins", "learn", "parameters", "posterior")
    missing = [key for key in needed if key not in payload]
    if missing:
        raise UserError(f"{path}: found no '{missing[0]}' in it, expected a checkpoint made by `dfp train`")
    return payload


def restored(payload: dict[str, Any], path: Path | str, device: torch.device) -> Fitted:
    """The model and the posterior that a checkpoint holds; ``path`` is what messages call it."""
    facts = Facts.read(payload["facts"], path)
    spec = build(RunSpec, facts.settings, str(path))
    kind = spec.model.observation().kind
    if payload.get("kind", DEFAULT) != kind.name:
        raise UserError(
            f"{path}: found a checkpoint of the observation model '{payload.get('kind', DEFAULT)}' with "
            f"settings of '{kind.name}', expected one kind (make it with `dfp train`)"
        )
    parameters = kind.Record(**{name: value.numpy() for name, value in payload["parameters"].items()})
    model = kind(parameters, payload["bin_rate"], payload["learn"], payload["kernel_bins"])
    blank = TraceSummary(model.cells, torch.zeros(model.cells), torch.ones(model.cells))
    posterior = make_posterior(spec.posterior, blank, generator(0), f"{path}: posterior")
    load_weights(posterior, payload["posterior"], path)
    return Fitted(model.to(device), posterior.to(device), spec, make_phases(spec, str(path)), facts)


def load_weights(posterior: Posterior, weights: dict[str, torch.Tensor], path: Path | str) -> None:
    """Put weights into a posterior. Raises ``UserError`` when they are those of another posterior."""
    own = posterior.state_dict()
    for name in sorted(set(own) | set(weights)):
        if name not in own or name not in weights or own[name].shape != weights[name].shape:
            found = tuple(weights[name].shape) if name in weights else "nothing"
            expected = tuple(own[name].shape) if name in own else "nothing"
            raise UserError(
                f"{path}: a checkpoint of another posterior or another number of cells (weight '{name}': "
                f"found {found}, "
                f"expected {expected} for '{posterior.name}')"
            )
    posterior.load_state_dict(weights)


def check_matches(fitted: Fitted, data: Dataset, checkpoint: Path | str, path: Path | str) -> None:
    """Raise ``UserError`` unless a checkpoint and a data set have the same cells and frame rate."""
    if fitted.model.cells != data.x.shape[2]:
        raise UserError(
            f"{checkpoint}: trained on {fitted.model.cells} cells, found {data.x.shape[2]} in {path}"
        )
    if abs(fitted.model.bin_rate - data.bin_rate) > 1e-6 * data.bin_rate:
        raise UserError(
            f"{checkpoint}: trained at {fitted.model.bin_rate:g} Hz, found {data.bin_rate:g} Hz in {path}"
        )


def warm_start(fitted: Fitted, start: Path | str, device: torch.device) -> None:
    """Copy into ``fitted`` all weights that ``start`` has under the same name and shape.

    The model's parameters are copied too where the run says so.

    A refined posterior takes its base from an unrefined one; terms that ``start`` lacks keep their fresh
    values.
    """
    other = load(start, device)
    if other.model.cells != fitted.model.cells:
        raise UserError(f"{start}: warm start from {other.model.cells} cells, expected {fitted.model.cells}")
    if fitted.spec.warm_start_model and other.model.name != fitted.model.name:
        raise UserError(
            f"{start}: warm start from the observation model '{other.model.name}', expected "
            f"'{fitted.model.name}' or warm_start_model: false"
        )
    theirs = other.posterior.state_dict()
    own = fitted.posterior.state_dict()
    taken = {name: theirs[name] for name in own if name in theirs and theirs[name].shape == own[name].shape}
    prefixed = {f"base.{name}": value for name, value in theirs.items()}
    taken |= {
        name: prefixed[name] for name in own if name in prefixed and prefixed[name].shape == own[name].shape
    }
    if not any("recognition" in name for name in taken):
        raise UserError(
            f"{start}: warm start shares no recognition network with posterior '{fitted.posterior.name}'"
        )
    fitted.posterior.load_state_dict({**own, **taken})
    if fitted.spec.warm_start_model:
        fitted.model.load_state_dict(other.model.state_dict())


def _learnable(spec: RunSpec, data: Dataset) -> list[str]:
    if "coupling" in spec.model.learn and not data.start.basis.shape[0]:
        raise UserError(
            "model.learn: found 'coupling' for a data set without a coupling basis, expected a coupled "
            "network"
        )
    return spec.model.learn


def _check_kinds(spec: RunSpec, data: Dataset, where: str) -> None:
    """Refuse, before anything is trained, what does not serve the observation model of run or data set."""
    if not data.known:
        require_kind(
            spec.model.kind, GUESSES, f"{where}.model.kind: first guesses from traces", "simulate the data"
        )
    elif spec.evaluation.exact and data.kernel_bins:
        require_kind(
            data.start.kind, EXACT, f"{where}.evaluation.exact, of this data set", "exact: false does without"
        )


def _start(spec: RunSpec, data: Dataset) -> Parameters:
    """Where the model's parameters start.

    They start at those of the data set, or, if they are learned, at estimates that do not know the truth.
    Calcium constants that are told start at what is told.
    """
    return as_told(_untold(spec, data), data.start, spec.model.told, data.seed)


def _untold(spec: RunSpec, data: Dataset) -> Parameters:
    observation = spec.model.observation()
    start = observation.parameters(data.start)
    if spec.model.start == "truth":
        return start
    require_kind(spec.model.kind, GUESSES, "model.start: data", "start: truth does without first guesses")
    estimates = [
        initial_estimates(data.x[:, :, n].reshape(-1), data.bin_rate) for n in range(data.x.shape[2])
    ]
    blind = {
        "bias": np.full(start.cells, np.log(0.05 / 0.95)),
        "history": np.zeros_like(start.history),
        "coupling": np.zeros_like(start.coupling),
        "amplitude": np.array([e.amplitude for e in estimates]),
        "baseline": np.array([e.baseline for e in estimates]),
        "noise": np.array([e.noise for e in estimates]),
    }
    for name, default in observation.kind.Record.defaults.items():
        given = getattr(observation.settings, name, None)
        blind[name] = np.full(start.cells, default if given is None else float(given))
    return replace(start, **{name: blind[name] for name in spec.model.learn if name in blind})
