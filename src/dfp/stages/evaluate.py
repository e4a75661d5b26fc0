"""Stage: what a trained posterior is worth, from hard samples."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from dfp.core.files import read_json
from dfp.core.noise import generator
from dfp.data.dataset import Dataset
from dfp.fitting.exactness import exact_metrics
from dfp.fitting.fitted import Fitted, check_matches, choose_device, load
from dfp.fitting.network import gibbs_refined, m_step_rows, weight_rows, weights_table
from dfp.fitting.sampling import condition, draw_samples, sample
from dfp.fitting.scores import instance_metrics, parameter_metrics, recording_metrics
from dfp.metrics.bounds import HardSamples
from dfp.metrics.statistics import count_moments
from dfp.results.tables import Measured, in_order, write_table


def evaluate(checkpoint: Path, data: Path, out: Path, device: str = "auto") -> None:
    """Write the metrics of a checkpoint on held-out trials to ``out``.

    Examples go to ``examples.csv`` beside it; for coupled cells also ``weights.csv``, the learned weights
    beside the true ones.

    Everything is computed in float64. Where the exact posterior is to be had (independent cells, a cut
    kernel, known truth) all is held against it. A network is one row a metric: the mean over its cells.

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
    x = torch.as_tensor(loaded.evaluation[0], dtype=torch.float64, device=where)
    pieces, examples = [], pd.DataFrame()
    asked: list[int | None] = [*fitted.spec.evaluation.refinement_steps] or [None]
    for steps in asked:
        rows, samples, reference = _inferred(fitted, loaded, x, steps)
        labels = {} if steps is None else {"steps_at_inference": steps}
        pieces.append(_table(fitted, loaded, rows).assign(**labels))
        if not len(examples):
            examples = _examples(fitted, loaded, x, samples, reference)
    rows = _fitted_rows(fitted, loaded, samples, x) + _training_metrics(checkpoint.parent, x.shape[-1])
    pieces.append(_table(fitted, loaded, rows))
    write_table(in_order(pd.concat(pieces, ignore_index=True)), out)
    if len(examples):
        write_table(examples, out.with_name("examples.csv"))
    if "coupling" in fitted.model.learned and loaded.known:
        weights = weights_table(fitted.model.parameters_now().coupling, loaded.start.coupling)
        write_table(weights.assign(**_labels(fitted), seed=int(loaded.seed[0])), out.with_name("weights.csv"))


def _inferred(
    fitted: Fitted, data: Dataset, x: Tensor, refinement_steps: int | None
) -> tuple[list[Measured], HardSamples, Tensor | None]:
    """Metrics of the posterior given the traces, its samples, and the exact marginals if there are any."""
    settings = fitted.spec.evaluation
    rng = generator(10_000 + int(data.seed[0]), x.device)
    started = time.process_time()
    q = condition(fitted, x, rng, refinement_steps)
    seconds = (time.process_time() - started) / x.shape[0]
    samples = sample(fitted, q, x, rng)
    rows = _basic_metrics(samples, x, settings.iwae_samples, fitted.independent)
    rows += [(n, "inference_cpu_seconds", seconds) for n in range(x.shape[2])]
    reference = None
    if settings.exact and fitted.independent and data.known and fitted.model.kernel_bins:
        found, reference = exact_metrics(fitted, samples, x, data.evaluation[1], data.start)
        rows += found
    if settings.at_sweeps:
        rows += _at_sweeps(fitted, x, data, rows)
    return rows, samples, reference


def _fitted_rows(fitted: Fitted, data: Dataset, samples: HardSamples, x: Tensor) -> list[Measured]:
    """What was learned, against the truth or the recorded spikes."""
    if not data.known:
        return recording_metrics(samples, data)
    rows = parameter_metrics(fitted, data) + instance_metrics(data)
    if fitted.model.couples_cells:
        rows += weight_rows(fitted, data)
        count = fitted.spec.evaluation.regression_samples
        if count:
            recording = torch.as_tensor(data.x).to(x)
            drawn = draw_samples(fitted, recording, seed=20_000 + int(data.seed[0]), samples=count)
            rows += m_step_rows(drawn.z, data)
            sweeps = fitted.spec.evaluation.gibbs_sweeps
            if sweeps:
                refined = gibbs_refined(drawn.z, data, fitted.model.parameters_now(), sweeps)
                rows += m_step_rows(refined, data, "gibbs_m_step")
    return rows


def _basic_metrics(samples: HardSamples, x: Tensor, iwae_samples: int, independent: bool) -> list[Measured]:
    """Bounds and spike counts, per cell.

    For coupled cells the bounds are per bin and cell of the whole network.
    """
    bins, cells = x.shape[1], x.shape[2]
    share = bins if independent else bins * cells
    elbo, iwae = samples.elbo().mean(0) / share, samples.iwae(iwae_samples).mean(0) / share
    spikes = samples.elbo_over_spikes() / share
    mean, sd = (moment.mean(0) for moment in count_moments(samples.z))
    rows: list[Measured] = []
    for n in range(cells):
        rows += [
            (n, "elbo_per_bin", float(elbo[n])),
            (n, "iwae_per_bin", float(iwae[n])),
            (n, "spike_elbo_per_bin", float(spikes[n])),
            (n, "count_mean", float(mean[n])),
            (n, "count_sd", float(sd[n])),
            (n, "sweeps_mean", float(np.mean(samples.sweeps))),
            (n, "sweeps_max", float(np.max(samples.sweeps))),
        ]
    return rows


def _at_sweeps(fitted: Fitted, x: Tensor, data: Dataset, known: list[Measured]) -> list[Measured]:
    """The same estimates from samples after exactly K sweeps.

    These need not be samples of q, so the estimates bound nothing.
    """
    sweeps = fitted.spec.evaluation.at_sweeps
    samples = draw_samples(fitted, x, seed=10_000 + int(data.seed[0]), sweeps=sweeps)
    share = x.shape[1] if fitted.independent else x.shape[1] * x.shape[2]
    elbo = samples.elbo().mean(0) / share
    evidence = {n: value for n, metric, value in known if metric == "log_evidence_per_bin"}
    rows = [(n, "elbo_at_k_per_bin", float(value)) for n, value in enumerate(elbo)]
    return rows + [(n, "gap_at_k_per_bin", evidence[n] - float(elbo[n])) for n in evidence]


def _training_metrics(folder: Path, cells: int) -> list[Measured]:
    summary: dict[str, Any] = read_json(folder / "summary.json")
    return [(n, name, float(value)) for n in range(cells) for name, value in summary.items()]


def _labels(fitted: Fitted) -> dict[str, Any]:
    """The columns that name a run in every table, its own labels last."""
    last = fitted.phases[-1]
    labels: dict[str, Any] = {
        name: getattr(fitted.facts, name) for name in ("experiment", "scale", "run", "dataset")
    }
    labels["posterior"] = str(fitted.spec.posterior["kind"])
    labels |= {"objective": last.objective.name, "sampler": last.sampler.name}
    setting = fitted.facts.setting
    return labels | fitted.spec.labels | ({"setting": setting} if setting else {})


def _table(fitted: Fitted, data: Dataset, rows: list[Measured]) -> pd.DataFrame:
    """Rows of cells as rows of seeds: a network's cells share one, and are averaged."""
    table = pd.DataFrame(rows, columns=["cell", "metric", "value"])
    cell = table.pop("cell").to_numpy()
    table["seed"] = data.seed[cell]
    if data.known:
        table = table.groupby(["seed", "metric"], sort=False)["value"].mean().reset_index()
    else:
        table["cell"] = np.array(data.names)[cell]
    return table.assign(**_labels(fitted))


def _examples(
    fitted: Fitted,
    data: Dataset,
    x: Tensor,
    samples: HardSamples,
    exact: Tensor | None,
) -> pd.DataFrame:
    """Traces with inferred and exact spike probabilities, for pictures."""
    pieces = []
    spikes = data.evaluation[1]
    time = np.arange(x.shape[1]) / data.bin_rate
    for trial in range(min(fitted.spec.evaluation.examples, x.shape[0])):
        for n in range(x.shape[2]):
            pieces.append(
                pd.DataFrame(
                    {
                        "run": fitted.facts.run,
                        "dataset": fitted.facts.dataset,
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
