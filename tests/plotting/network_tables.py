"""Tables of the experiments with networks, and of the ablations, made from a seed."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

SHARED = {"dataset": "cells", "sampler": "fixed_point"}
FIXED_POINT = {**SHARED, "posterior": "autoregressive", "objective": "relaxed_pmf"}


def tidy(rows: list[dict[str, Any]], experiment: str, scale: str = "default") -> pd.DataFrame:
    """Rows to a table with all the columns of the contract, in their order."""
    frame = pd.DataFrame(rows).assign(experiment=experiment, scale=scale)
    fixed = ["experiment", "scale", "run", "dataset", "seed", "posterior", "objective", "sampler"]
    frame = frame.assign(**{name: "" for name in fixed if name not in frame.columns})
    labels = [name for name in frame.columns if name not in (*fixed, "metric", "value")]
    return frame[[*fixed, *labels, "metric", "value"]]


def rows(
    values: dict[str, float], seeds: int, generator: np.random.Generator, **about: Any
) -> Iterator[dict]:
    """A row a seed and metric, spread by a tenth of the value (0.02 around zero)."""
    common = {**FIXED_POINT, **about}
    for seed, (metric, value) in itertools.product(range(seeds), values.items()):
        spread = 0.1 * value if value else 0.02
        yield {**common, "seed": seed, "metric": metric, "value": value + spread * generator.uniform(-1, 1)}


def weight_values(correlation: float) -> dict[str, float]:
    return {
        "weight_correlation": correlation,
        "weight_slope": correlation / 3,
        "weight_rmse": 0.5,
        "weight_auc": 0.8,
        "weight_ap": 0.7,
        "weight_sign_accuracy": 0.95,
        "history_bias_1": 2.5,
        "rate_bias": -0.2,
    }


LEARNED = {
    "factorised": 0.68,
    "factorised_score": 0.69,
    "fixed_point": 0.74,
    "fixed_point_score": 0.8,
    "logistic_flow": 0.6,
    "refined": 0.66,
}
PEERS = {"glm_true_spikes": 0.95, "oasis_glm": 0.5, "oasis_correlation": 0.5}


def connectivity(seeds: int, generator: np.random.Generator) -> pd.DataFrame:
    found: list[dict] = []
    for setting, (name, correlation) in itertools.product(("slow", "instant"), LEARNED.items()):
        if setting == "instant" and name not in ("factorised", "fixed_point"):
            continue
        about = {"family": name.removesuffix("_score"), "setting": setting, "dataset": setting}
        found += rows(weight_values(correlation), seeds, generator, run=name, parameters="learned", **about)
        steps = {"m_step_slope": 0.5, "m_step_correlation": correlation, "m_step_history_1": 1.0}
        for parameters, run in (("learned", name), ("truth", f"{name}_truth")):
            found += rows(steps, seeds, generator, run=run, parameters=parameters, **about)
    for setting, (name, correlation) in itertools.product(("slow", "instant"), PEERS.items()):
        values = weight_values(correlation)
        if name == "oasis_correlation":
            values = {metric: value for metric, value in values.items() if "slope" not in metric}
        about = {"run": name, "family": name, "setting": setting, "dataset": setting}
        found += rows(values, seeds, generator, **about)
    return tidy(found, "connectivity")


def weights(generator: np.random.Generator) -> pd.DataFrame:
    parts = []
    for name, correlation in LEARNED.items():
        true = generator.standard_normal(60)
        learned = correlation * true + 0.3 * generator.standard_normal(60)
        about = {"run": name, "setting": "slow", "parameters": "learned", "dataset": "slow_0"}
        parts.append(pd.DataFrame({"true": true, "learned": learned}).assign(**about))
    return pd.concat(parts)


def peer_connectivity(seeds: int, generator: np.random.Generator) -> pd.DataFrame:
    methods = {**PEERS, "factorised": 0.8, "fixed_point": 0.84}
    found: list[dict] = []
    for setting, (name, correlation) in itertools.product(("noise01", "noise03", "noise05"), methods.items()):
        about = {"run": name, "family": name, "setting": setting, "dataset": setting}
        found += rows(weight_values(correlation), seeds, generator, **about)
    about = {"run": "fixed_point_indirect", "family": "fixed_point", "setting": "noise05"}
    found += rows(weight_values(0.9), seeds, generator, dataset="noise05", **about)
    return tidy(found, "peer_connectivity")


def refinement(seeds: int, generator: np.random.Generator) -> pd.DataFrame:
    found: list[dict] = []
    values = {"gap_per_bin": 0.05, "marginal_rmse": 0.1, "inference_cpu_seconds": 0.002}
    for of in ("factorised", "autoregressive"):
        about = {"run": f"amortised_{of}", "of": of, "dataset": "panel", "posterior": of}
        found += rows(values, seeds, generator, **about)
        for estimator, training, budget, inference in itertools.product(
            ("mean_passing", "straight_through"), ("0", "1", "5"), ("steps", "time"), (0, 1, 5)
        ):
            if training == "0" and budget == "time":
                continue
            labels = {"of": of, "estimator": estimator, "steps_in_training": training, "budget": budget}
            run = "_".join((of, estimator, training, budget))
            about = {"posterior": "refined", "dataset": "panel", "run": run, **labels}
            cost = {**values, "inference_cpu_seconds": 0.002 * (1 + inference)}
            found += rows(cost, seeds, generator, steps_at_inference=inference, **about)
    return tidy(found, "refinement")


def ablation(name: str, labels: dict[str, list[str]], values: dict[str, float]) -> Any:
    """A maker of an ablation's table: every combination of the labels is a run."""

    def make(seeds: int, generator: np.random.Generator) -> pd.DataFrame:
        found: list[dict] = []
        for place in itertools.product(*labels.values()):
            about = dict(zip(labels, place, strict=True))
            found += rows(values, seeds, generator, run="_".join(place), **about)
        return tidy(found, name)

    return make


FAMILIES = ["factorised", "fixed_point"]
NETWORK = {**weight_values(0.7), "elbo_per_bin": -1.2, "train_sweeps_mean": 8.0}
ONE_CELL = {"gap_per_bin": 0.04, "train_sweeps_mean": 8.0}
ABLATIONS: dict[str, tuple[dict[str, list[str]], dict[str, float]]] = {
    "coupling": ({"coupling": ["none", "free", "tied"], "own_history": ["on", "off"]}, NETWORK),
    "cross_cells": ({"family": FAMILIES, "channels": ["0", "1", "4", "16"]}, NETWORK),
    "training": ({"family": FAMILIES, "trained": ["600", "2400"]}, NETWORK),
    "recognition": ({"family": FAMILIES, "window": ["0", "2", "5", "20"]}, ONE_CELL),
    "history": ({"family": ["fixed_point"], "lags": ["0", "2", "10", "nonlinear"]}, ONE_CELL),
    "objective": (
        {"family": FAMILIES, "objective_label": ["relaxed pmf", "multi-sample, logistic density"]},
        ONE_CELL,
    ),
}
TOLD = ("right", "amplitude 0.9", "amplitude 1.1", "amplitude varied", "decay 0.8", "decay 1.25",
        "noise 0.8", "noise 1.25")  # fmt: skip


def misspecified(seeds: int, generator: np.random.Generator) -> pd.DataFrame:
    """Every method told everything, the constants learned for some of it."""
    found: list[dict] = []
    off = {f"{name}_off": 0.1 for name in ("amplitude", "decay", "noise")}
    for method, family, correlation in (
        ("indirect", "factorised", 0.82),
        ("constants_learned", "factorised", 0.8),
        ("relaxed", "fixed_point", 0.72),
    ):
        for told in TOLD if method != "constants_learned" else (*TOLD[:2], *TOLD[3:5]):
            values = {**weight_values(correlation), **off, "history_off_1": 2.6}
            run = f"{method}_{told.replace('.', '').replace(' ', '_')}"
            found += rows(values, seeds, generator, run=run, method=method, family=family, told=told)
    for told in TOLD:
        run = "oasis_glm" if told == "right" else f"oasis_glm_{told}"
        label = {} if told == "right" else {"told": told}
        found += rows(weight_values(0.77), seeds, generator, run=run, family="oasis_glm", **label)
    return tidy(found, "misspecified")


MAKERS = {
    "connectivity": connectivity,
    "misspecified": misspecified,
    "peer_connectivity": peer_connectivity,
    "refinement": refinement,
    **{
        f"ablation_{name}": ablation(f"ablation_{name}", labels, values)
        for name, (labels, values) in ABLATIONS.items()
    },
}
FIGURES = {
    "connectivity": ["accuracy", "settings", "weights", "m_step"],
    "misspecified": ["misspecified", "changes", "constants"],
    "peer_connectivity": ["noise"],
    "refinement": ["inference", "training", "time"],
    **{f"ablation_{name}": [name] for name in ABLATIONS},
}
