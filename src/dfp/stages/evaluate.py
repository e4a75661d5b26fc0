"""Stage: what a trained posterior is worth, from hard samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from dfp.core.files import read_json
from dfp.core.noise import generator
from dfp.data.dataset import Dataset
from dfp.evaluation.bounds import HardSamples, sample_hard
from dfp.objectives.base import Problem
from dfp.objectives.relaxed_pmf import RelaxedPmf
from dfp.objectives.score_function import ScoreFunction
from dfp.samplers.base import Sampler
from dfp.samplers.fixed_point import FixedPoint
from dfp.samplers.sequential import Sequential
from dfp.stages.aggregate import write_table
from dfp.stages.exactness import exact_metrics
from dfp.stages.fitted import Fitted, check_matches, choose_device, load
from dfp.stages.scores import parameter_metrics, recording_metrics
from dfp.training.step import bound_for

Row = tuple[int, str, float]


def evaluate(checkpoint: Path, data: Path, out: Path, device: str = "auto") -> None:
    """Write the metrics of a checkpoint on held-out trials to ``out``, and examples to ``examples.csv``
    beside it.

    Everything is computed in float64. Where the exact posterior is to be had (independent cells, a cut
    kernel, known truth) all is held against it.

    Raises:
        UserError: for a checkpoint or data set that is missing or does not match.
        NumericalError: when samples are not exact because a cap was hit.
    """
    where = choose_device(device)
    fitted = load(checkpoint, where)
    loaded = Dataset.load(data)
    check_matches(fitted, loaded, checkpoint, data)
    fitted.model.double()
    fitted.posterior.double()
    traces, spikes = loaded.evaluation
    x = torch.as_tensor(traces, dtype=torch.float64, device=where)
    samples = draw_samples(fitted, x, seed=10_000 + int(loaded.seed[0]))
    rows = _basic_metrics(samples, x, fitted.spec.evaluation.iwae_samples, fitted.independent)
    reference = None
    if fitted.spec.evaluation.exact and fitted.independent and loaded.known and fitted.model.kernel_bins:
        found, reference = exact_metrics(fitted, samples, x, spikes, loaded.start)
        rows += found
    if loaded.known:
        rows += parameter_metrics(fitted, loaded)
    else:
        rows += recording_metrics(samples, loaded)
    if fitted.spec.evaluation.at_sweeps:
        rows += _at_sweeps(fitted, x, loaded, rows)
    rows += _training_metrics(checkpoint.parent, x.shape[-1])
    write_table(_table(fitted, loaded, rows), out)
    examples = _examples(fitted, loaded, x, spikes, samples, reference)
    if len(examples):
        write_table(examples, out.with_name("examples.csv"))


def draw_samples(fitted: Fitted, x: Tensor, seed: int, sweeps: int | None = None) -> HardSamples:
    """Hard samples of a fitted posterior for traces ``(B, T, N)``,
    refined first where the family is refined.
    """
    settings = fitted.spec.evaluation
    rng = generator(seed, x.device)
    problem = Problem(fitted.model, x, torch.ones_like(x[:, :, :1]), fitted.independent)
    fitted.phases[-1].prepare(fitted.posterior, fitted.phases[-1].steps)
    trained = fitted.phases[-1].objective
    objective = RelaxedPmf() if isinstance(trained, ScoreFunction) or trained.continuous else trained
    conditioned = fitted.posterior.condition(x, bound_for(problem, objective, FixedPoint(), rng))
    with torch.no_grad():
        return sample_hard(
            fitted.model,
            conditioned.q,
            x,
            settings.samples,
            rng,
            independent=fitted.independent,
            sweeps=sweeps,
            max_sweeps=settings.max_sweeps or None,
            sampler=_sampler(fitted) if sweeps is None else None,
        )


def _sampler(fitted: Fitted) -> Sampler | None:
    """Bin by bin where the run was trained so: the faster of two ways to the same samples."""
    last = fitted.phases[-1].sampler
    return last if isinstance(last, Sequential) else None


def _basic_metrics(samples: HardSamples, x: Tensor, iwae_samples: int, independent: bool) -> list[Row]:
    """Bounds and spike counts, per cell (for coupled cells the bounds
    are per bin and cell of the whole network).
    """
    bins, cells = x.shape[1], x.shape[2]
    share = bins if independent else bins * cells
    elbo, iwae = samples.elbo().mean(0) / share, samples.iwae(iwae_samples).mean(0) / share
    counts = samples.z.sum(2, dtype=torch.float64)
    rows: list[Row] = []
    for n in range(cells):
        rows += [
            (n, "elbo_per_bin", float(elbo[n])),
            (n, "iwae_per_bin", float(iwae[n])),
            (n, "count_mean", float(counts[..., n].mean())),
            (n, "count_sd", float(counts[..., n].std(0).mean())),
            (n, "sweeps_mean", float(np.mean(samples.sweeps))),
            (n, "sweeps_max", float(np.max(samples.sweeps))),
        ]
    return rows


def _at_sweeps(fitted: Fitted, x: Tensor, data: Dataset, known: list[Row]) -> list[Row]:
    """The same estimates from samples after exactly K sweeps, which need
    not be samples of q, so that they bound nothing.
    """
    sweeps = fitted.spec.evaluation.at_sweeps
    samples = draw_samples(fitted, x, seed=10_000 + int(data.seed[0]), sweeps=sweeps)
    share = x.shape[1] if fitted.independent else x.shape[1] * x.shape[2]
    elbo = samples.elbo().mean(0) / share
    evidence = {n: value for n, metric, value in known if metric == "log_evidence_per_bin"}
    rows = [(n, "elbo_at_k_per_bin", float(value)) for n, value in enumerate(elbo)]
    return rows + [(n, "gap_at_k_per_bin", evidence[n] - float(elbo[n])) for n in evidence]


def _training_metrics(folder: Path, cells: int) -> list[Row]:
    summary: dict[str, Any] = read_json(folder / "summary.json")
    return [(n, name, float(value)) for n in range(cells) for name, value in summary.items()]


def _table(fitted: Fitted, data: Dataset, rows: list[Row]) -> pd.DataFrame:
    last = fitted.phases[-1]
    table = pd.DataFrame(rows, columns=["cell", "metric", "value"])
    table.insert(0, "seed", data.seed[table.pop("cell").to_numpy()])
    for name in ("dataset", "run", "scale", "experiment"):
        table.insert(0, name, fitted.facts[name])
    place = table.columns.get_loc("metric")
    assert isinstance(place, int)
    table.insert(place, "posterior", str(fitted.spec.posterior["kind"]))
    table.insert(place + 1, "objective", last.objective.name)
    table.insert(place + 2, "sampler", last.sampler.name)
    for label, value in fitted.spec.labels.items():
        table[label] = value
    if not data.known:
        table["cell"] = [data.names[list(data.seed).index(seed)] for seed in table["seed"]]
    return table


def _examples(
    fitted: Fitted,
    data: Dataset,
    x: Tensor,
    spikes: np.ndarray | None,
    samples: HardSamples,
    exact: Tensor | None,
) -> pd.DataFrame:
    """Traces with inferred and exact spike probabilities, for pictures."""
    pieces = []
    time = np.arange(x.shape[1]) / data.frame_rate
    for trial in range(min(fitted.spec.evaluation.examples, x.shape[0])):
        for n in range(x.shape[2]):
            pieces.append(
                pd.DataFrame(
                    {
                        "run": fitted.facts["run"],
                        "dataset": fitted.facts["dataset"],
                        "seed": int(data.seed[n]),
                        "cell": data.names[n],
                        "trial": trial,
                        "time_s": time,
                        "x": x[trial, :, n].cpu().numpy(),
                        "spike": np.nan if spikes is None else spikes[trial, :, n],
                        "exact": np.nan if exact is None else exact[trial, :, n].cpu().numpy(),
                        "probability": samples.probability[trial, :, n].cpu().numpy(),
                    }
                )
            )
    return pd.concat(pieces, ignore_index=True) if pieces else pd.DataFrame()
