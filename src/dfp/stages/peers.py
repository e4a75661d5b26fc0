"""Stage: other people's methods on the same data set."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dfp.config import Experiment, load_experiment
from dfp.config.runs import slug
from dfp.core.errors import UserError
from dfp.core.files import read_json, write_json
from dfp.data.dataset import Dataset
from dfp.data.told import as_told
from dfp.fitting.network import weights_table
from dfp.fitting.scores import named_scores
from dfp.metrics.connectivity import limit_correlation, weight_metrics
from dfp.references.gibbs.chains import diagnostics
from dfp.references.gibbs.learning import WeightPosterior, em, weight_posterior
from dfp.references.peers.networks import Deconvolved, NetworkEstimate, PeerSettings, estimate, tune
from dfp.references.peers.oasis import oasis_deconvolve
from dfp.results.tables import write_table

#: methods that choose nothing on another network
GIBBS = ("gibbs_em", "gibbs_posterior")
#: methods that no calcium constant reaches
UNTOLD = ("glm_true_spikes",)


def peers(
    experiment: Path,
    scale: str,
    dataset: str,
    data: Path,
    out: Path,
    settings: Path | None = None,
    overrides: Path | None = None,
) -> None:
    """Write the scores of an experiment's peers on a data set to ``out``.

    They have the form of runs, each with the method's name.

    ``oasis`` is scored on recorded spikes. ``glm_true_spikes``, ``oasis_glm`` and ``oasis_correlation`` are
    scored on the weights of a network, with the ``settings`` that ``tune_peers`` chose, ``gibbs_em`` and
    ``gibbs_posterior`` on the same without any; their weights go to ``weights.csv`` beside ``out``. All but
    the first are scored again with calcium constants as ``PeersSpec.told`` has them.

    Sources: Friedrich, Zhou & Paninski 2017 (package oasis-deconv); regression by scikit-learn.
    """
    exp = load_experiment(experiment, scale, overrides)
    loaded = Dataset.load(data)
    tables = []
    here = exp.peers_on(dataset)
    if "oasis" in here:
        tables.append(_labelled(_oasis(loaded, data), exp, dataset, "oasis"))
    network = [method for method in on_networks(exp) if method in here]
    chosen = _read_settings(settings, network, data) if network else {}
    weights = []
    for method in (name for name in here if name in GIBBS or name in network):
        for told, given in _as_told(exp, loaded, method):
            fit = _gibbs(method, exp, given) if method in GIBBS else _tuned(method, given, chosen[method])
            table, found = _network(fit, loaded)
            tables.append(_labelled(table, exp, dataset, method, told))
            compared = weights_table(found.coupling, loaded.start.coupling)
            weights.append(_labelled(compared.assign(seed=int(loaded.seed[0])), exp, dataset, method, told))
    if weights:
        write_table(pd.concat(weights, ignore_index=True), out.with_name("weights.csv"))
    write_table(pd.concat(tables, ignore_index=True), out)


def _as_told(exp: Experiment, data: Dataset, method: str) -> list[tuple[str, Dataset]]:
    """The data set as it is, under an empty name, and with constants as a method is told them, by name."""
    spec = exp.document.peers
    assert spec is not None
    variants = {} if method in UNTOLD else spec.told
    return [("", data)] + [
        (name, replace(data, start=as_told(data.start, data.start, told, data.seed)))
        for name, told in variants.items()
    ]


def _tuned(method: str, data: Dataset, settings: PeerSettings) -> Callable[[], NetworkEstimate]:
    return partial(estimate, method, data, settings)


def tune_peers(experiment: Path, scale: str, data: Path, out: Path, overrides: Path | None = None) -> None:
    """Choose the settings of an experiment's peers on the network in ``data`` and write them to ``out``.

    The peers are not scored on that network. ``out`` is a JSON object of ``PeerSettings`` by method.
    """
    exp = load_experiment(experiment, scale, overrides)
    separate = Deconvolved(Dataset.load(data))
    chosen = {method: asdict(tune(method, separate.data, separate)) for method in on_networks(exp)}
    write_json(out, chosen)


def on_networks(exp: Experiment) -> list[str]:
    """The peers of an experiment that estimate weights, and so have settings to choose."""
    return [method for method in exp.peers if method != "oasis" and method not in GIBBS]


def _read_settings(path: Path | None, methods: list[str], data: Path) -> dict[str, PeerSettings]:
    if path is None:
        raise UserError(
            f"{data}: found no --settings, expected those that `dfp tune` chose on another network"
        )
    found = read_json(path)
    try:
        return {method: PeerSettings(**found[method]) for method in methods}
    except (KeyError, TypeError) as error:
        raise UserError(
            f"{path}: expected the settings of {', '.join(methods)}, as `dfp tune` writes them; found {error}"
        ) from None


def _labelled(
    table: pd.DataFrame, exp: Experiment, dataset: str, method: str, constants: str = ""
) -> pd.DataFrame:
    """A table with the columns that name its run; ``constants`` names those that the run was told wrong."""
    labels: dict[str, Any] = {
        "experiment": exp.name, "scale": exp.scale, "run": method, "dataset": dataset,
        "posterior": method, "objective": "none", "sampler": "none", "family": method,
    }  # fmt: skip
    if constants:
        labels |= {"run": f"{method}_{slug(constants)}", "told": constants}
    setting = exp.entries[dataset].setting
    return table.assign(**labels, **({"setting": setting} if setting else {}))


def _oasis(data: Dataset, path: Path) -> pd.DataFrame:
    """Scores of OASIS on the frames of recordings.

    It has an L1 penalty and an AR(1) calcium model, and finds noise and decay by itself. Its output has
    arbitrary units.
    """
    traces, spikes = data.evaluation
    if data.known or spikes is None:
        raise UserError(f"{path}: a simulated data set, expected recordings with spikes to score a peer on")
    step = int(data.facts.get("bins_per_frame", 1))
    rows = []
    for n, name in enumerate(data.names):
        frames = traces[0, step - 1 :: step, n]
        last = int(np.flatnonzero(np.isfinite(frames))[-1]) + 1
        found = oasis_deconvolve(frames[:last], penalty=1)
        recorded = spikes[0, step - 1 :: step, n][:last].astype(float)
        for _, metric, value in named_scores(n, np.ravel(found.spikes), recorded, data.bin_rate / step):
            rows.append({"seed": int(data.seed[n]), "cell": name, "metric": metric, "value": value})
    return pd.DataFrame(rows)


def _gibbs(method: str, exp: Experiment, data: Dataset) -> Callable[[], NetworkEstimate]:
    """Weights from the exact likelihood, by blocked Gibbs.

    They are its maximum, by stochastic-approximation EM, or the posterior's mean under a normal prior.
    """
    spec = exp.document.peers
    assert spec is not None

    def fit() -> NetworkEstimate:
        if method == "gibbs_em":
            found = em(data, spec.sweeps, spec.burn_in, seed=0, particles=spec.particles).parameters
            return NetworkEstimate(found.coupling, found.history, found.bias, scaled=True)
        drawn = weight_posterior(
            data, spec.sweeps - spec.burn_in, spec.burn_in, 0, spec.prior_sd, particles=spec.particles
        )
        means = (drawn.coupling.mean(0), drawn.history.mean(0), drawn.bias.mean(0))
        return NetworkEstimate(*means, scaled=True, facts=_mixing(drawn, data))

    return fit


def _mixing(drawn: WeightPosterior, data: Dataset) -> dict[str, float]:
    """How far a chain of weights has come.

    ``gibbs_rhat`` and ``gibbs_effective_draws`` are medians over the weights, ``gibbs_acceptance`` is a mean
    over cells; ``weight_limit_correlation``: see ``limit_correlation``.
    """
    found = {"gibbs_acceptance": float(drawn.acceptance.mean())}
    apart = ~np.eye(drawn.coupling.shape[2], dtype=bool)
    weights = drawn.coupling[:, :, apart]
    if len(weights) >= 4 and np.ptp(weights, axis=0).any():
        rhat, size = diagnostics(weights[None])
        found |= {"gibbs_rhat": float(np.nanmedian(rhat)), "gibbs_effective_draws": float(np.nanmedian(size))}
    # NaN where the draws say nothing: a row without a value, so that nobody takes the metric for lost
    limit = limit_correlation(drawn.coupling, data.start.coupling) if len(weights) >= 2 else np.nan
    return found | {"weight_limit_correlation": limit}


def _network(fit: Callable[[], NetworkEstimate], data: Dataset) -> tuple[pd.DataFrame, NetworkEstimate]:
    """One method's metrics on a network, and its weights."""
    started = time.perf_counter()
    found = fit()
    values = {"peer_seconds": time.perf_counter() - started}
    values |= weight_metrics(found.coupling, data.start.coupling, scaled=found.scaled)
    values |= found.facts
    if found.history is not None:
        errors = (found.history - data.start.history).mean(0)
        values |= {f"history_bias_{lag + 1}": float(error) for lag, error in enumerate(errors)}
    if found.bias is not None:
        values["rate_bias"] = float((found.bias - data.start.bias).mean())
    rows = [{"seed": int(data.seed[0]), "metric": name, "value": value} for name, value in values.items()]
    return pd.DataFrame(rows), found
