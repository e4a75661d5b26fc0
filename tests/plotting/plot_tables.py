"""Tables as `aggregate` writes them, made from a seed: what the plotting tests draw."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable
from pathlib import Path

import family_tables
import instance_tables
import network_tables
import numpy as np
import pandas as pd
from network_tables import FIXED_POINT, SHARED, tidy

EXPERIMENTS = Path(__file__).parents[2] / "experiments"

# gap in nats per bin; count, sd and lag (neighbour covariance) as ratios to the exact posterior's
UNCERTAINTY = pd.read_csv(
    io.StringIO("""
run posterior objective sampler gap count sd lag accuracy half most
factorised factorised relaxed_pmf fixed_point 0.05 0.87 1.57 0.0 0.93 0.72 0.97
factorised_score factorised score_function fixed_point 0.047 0.91 1.52 0.0 0.92 0.7 0.97
sequential autoregressive relaxed_pmf sequential 0.0071 1.01 1.24 0.85 0.66 0.58 0.93
fixed_point autoregressive relaxed_pmf fixed_point 0.0071 1.01 1.24 0.85 0.66 0.58 0.93
fixed_point_score autoregressive score_function fixed_point 0.0029 0.99 1.12 0.92 0.6 0.54 0.92
fixed_point_nonlinear autoregressive score_function fixed_point 0.0005 1.0 1.03 0.98 0.52 0.51 0.9
logistic_flow logistic_flow logistic_density fixed_point 0.0854 1.14 1.7 0.4 0.95 0.61 0.94
planar_latents latent_flow logistic_density fixed_point 0.12 1.1 1.6 0.4 0.95 0.61 0.94
refined_mean gradient_refined refinement fixed_point 0.061 0.8 1.6 0.0 0.95 0.66 0.95
refined_straight gradient_refined refinement fixed_point 0.055 0.85 1.58 0.0 0.94 0.7 0.96
refined_sigma gradient_refined refinement fixed_point 0.052 0.86 1.57 0.0 0.94 0.7 0.96
"""),
    sep=r"\s+",
    index_col="run",
)


def uncertainty(seeds: int, generator: np.random.Generator) -> pd.DataFrame:
    rows = []
    for seed in range(seeds):
        network = np.exp(0.25 * generator.standard_normal())
        exact = {
            "count_mean_exact": 24.6 * network,
            "count_sd_exact": 2.2 * network,
            "covariance_lag1_exact": -2.4e-3 * network,
        }
        for run, mean in UNCERTAINTY.iterrows():
            noise = generator.standard_normal(6)
            values = {
                **exact,
                "gap_per_bin": mean["gap"] * network * np.exp(0.08 * noise[0]),
                "spike_gap_per_bin": 0.8 * mean["gap"] * network,
                "elbo_per_bin": -(0.7 + mean["gap"]) * network + 1e-5 * noise[0],
                "sweeps_mean": 8 + noise[0],
                "count_bias": mean["count"] - 1 + 0.01 * noise[1],
                "count_mean": exact["count_mean_exact"] * (mean["count"] + 0.01 * noise[1]),
                "count_sd": exact["count_sd_exact"] * (mean["sd"] + 0.03 * noise[2]),
                "covariance_lag1": exact["covariance_lag1_exact"] * mean["lag"],
                "two_sample_accuracy": mean["accuracy"] + 0.01 * noise[3],
                "coverage_50": mean["half"] + 0.04 * noise[4],
                "coverage_90": min(mean["most"] + 0.02 * noise[5], 1.0),
            }
            common = {"run": run, "seed": seed, **SHARED, **mean[["posterior", "objective", "sampler"]]}
            if run == "planar_latents":
                common |= {"family": run, "bound": "latents"}
            rows += [{**common, "metric": metric, "value": value} for metric, value in values.items()]
    return tidy(rows, "uncertainty")


def examples(
    generator: np.random.Generator,
    runs: list[str],
    cells: int,
    exact: bool,
    bins: int = 300,
    rate: float = 30.0,
) -> pd.DataFrame:
    parts = []
    for cell in range(cells):
        spike = (generator.random(bins) < 0.1).astype(int)
        kernel = 0.8 ** np.arange(30)
        trace = np.convolve(spike, kernel)[:bins] + 0.4 * generator.standard_normal(bins)
        marginal = np.clip(0.75 * spike + 0.1 * generator.random(bins), 0, 1)
        for run in runs:
            probability = np.clip(marginal + 0.12 * generator.standard_normal(bins), 0, 1)
            parts.append(
                pd.DataFrame(
                    {
                        "run": run,
                        "dataset": f"DS{cell:02d}" if not exact else "cells",
                        "seed": cell,
                        "trial": 0,
                        "time_s": np.arange(bins) / rate,
                        "x": trace,
                        "spike": spike,
                        "exact": marginal if exact else np.nan,
                        "probability": probability,
                    }
                )
            )
    return pd.concat(parts)


def history(runs: list[str], generator: np.random.Generator) -> pd.DataFrame:
    """As `aggregate` writes it: a curve a training, the mean over the cells of a panel."""
    rows = []
    for run in runs:
        end = -0.75 - 3 * UNCERTAINTY.loc[run, "gap"]
        for step in range(0, 3000, 50):
            value = end - 0.8 * np.exp(-step / 300) + 0.01 * generator.standard_normal()
            slow = 0.04 if run == "sequential" else 0.006
            rows.append(
                {
                    "run": run,
                    "dataset": "panel",
                    "step": step,
                    "loss": -300 * value,
                    "elbo_per_bin": value,
                    "sweeps": 8.0,
                    "seconds": step * slow,
                }
            )
    return pd.DataFrame(rows)


def bias(seeds: int, generator: np.random.Generator) -> pd.DataFrame:
    kinds = {
        "factorised": ("factorised", "relaxed_pmf", 0.05, -0.1),
        "fixed_point": ("autoregressive", "relaxed_pmf", 0.006, 0.01),
        "logistic_flow": ("logistic_flow", "logistic_density", 0.06, 0.13),
    }
    rows = []
    for parameters in ("known", "learned"):
        for run, (posterior, objective, gap, count) in kinds.items():
            for temperature in (0.15, 0.3, 0.5, 0.7):
                for seed in range(seeds):
                    noise = generator.standard_normal(7)
                    values = {
                        "gap_per_bin": gap * (0.7 + 2 * temperature**2) * np.exp(0.15 * noise[0]),
                        "count_bias": count * (0.5 + temperature) + 0.01 * noise[1],
                    }
                    if parameters == "learned":
                        names = (
                            "rate_bias",
                            "history_bias_1",
                            "history_bias_2",
                            "amplitude_bias",
                            "noise_bias",
                        )
                        values |= {
                            name: 3 * count * (0.4 + temperature) + 0.08 * noise[2 + i]
                            for i, name in enumerate(names)
                        }
                    common = {
                        "run": f"{run}_{parameters}_{temperature}",
                        "dataset": "cells",
                        "seed": seed,
                        "family": run,
                        "posterior": posterior,
                        "objective": objective,
                        "sampler": "fixed_point",
                        "temperature": temperature,
                        "parameters": parameters,
                    }
                    rows += [{**common, "metric": metric, "value": value} for metric, value in values.items()]
        for seed in range(seeds):
            common = {
                "run": f"refined_{parameters}",
                "dataset": "cells",
                "seed": seed,
                "family": "refined",
                "posterior": "gradient_refined",
                "objective": "refinement",
                "sampler": "fixed_point",
                "temperature": np.nan,
                "parameters": parameters,
            }
            values = {
                "gap_per_bin": 0.06 + 0.004 * generator.standard_normal(),
                "count_bias": -0.2 + 0.02 * generator.standard_normal(),
            }
            rows += [{**common, "metric": metric, "value": value} for metric, value in values.items()]
    return tidy(rows, "bias")


def recordings(cells: int, generator: np.random.Generator) -> pd.DataFrame:
    rows = []
    for cell in range(cells):
        base = 0.3 + 0.4 * generator.random()
        for run, gain in (("oasis", 0.0), ("factorised", 0.04), ("fixed_point", 0.09)):
            for metric, step in (
                ("correlation_25ms", 0.0),
                ("correlation_40ms", 0.04),
                ("correlation_1s", 0.18),
            ):
                rows.append(
                    {
                        "run": run,
                        "dataset": f"DS{cell:02d}",
                        "seed": cell,
                        "posterior": run,
                        "cell": cell,
                        "indicator": "GCaMP6f" if cell % 2 else "GCaMP6s",
                        "metric": metric,
                        "value": base + gain + step + 0.02 * generator.standard_normal(),
                    }
                )
    return tidy(rows, "recordings")


def wall_clock(rounds: int, generator: np.random.Generator) -> pd.DataFrame:
    """Two grids, a step of every family and a race, all in rounds."""
    families = {"factorised": 1.2e-5, "fixed_point": 1.6e-5, "sequential": 1.5e-4, "compiled": 1.3e-5}
    sizes = [("0", bins, 1, 16) for bins in (300, 1000)] + [("1", 1000, cells, 8) for cells in (3, 30)]
    here = {"device": "cpu", "threads": 1}
    rows = []
    for measured, metric in (("sampling", "seconds_per_draw"), ("training", "seconds_per_step")):
        for (number, bins, cells, chains), (family, cost), seed in itertools.product(
            sizes, families.items(), range(rounds)
        ):
            labels = {"measured": measured, "family": family, "bins": bins, "cells": cells, "chains": chains}
            common = {**FIXED_POINT, **labels, **here, "run": family, "seed": seed}
            common["dataset"] = f"{measured}_{number}"
            shared = cost * bins if family == "sequential" else cost * bins * cells
            seconds = (shared + 2e-4) * np.exp(0.05 * generator.standard_normal())
            rows.append({**common, "metric": metric, "value": seconds})
            rows.append({**common, "metric": "sweeps_mean", "value": 6 + generator.random()})
    panel = {"dataset": "panel", "bins": 300, "cells": 5, "chains": 8, **here}
    for (family, cost), seed in itertools.product(
        {**families, "logistic_flow": 2e-5, "refined": 5e-5}.items(), range(rounds)
    ):
        common = {**FIXED_POINT, **panel, "run": family, "family": family, "seed": seed}
        seconds = 300 * cost * np.exp(0.05 * generator.standard_normal())
        rows.append({**common, "measured": "families", "metric": "seconds_per_step", "value": seconds})
        race = {**common, "measured": "race", "race": "one_cell", "level": "factorised"}
        rows.append({**race, "extrapolated": False, "metric": "seconds_to_level", "value": 400 * seconds})
    for run, cells, seed in itertools.product(
        ("gibbs_blocked", "gibbs_particles", "factorised", "fixed_point"), (1, 20), range(rounds)
    ):
        sweep = run.startswith("gibbs")
        one = {**FIXED_POINT, **here, "run": run, "family": run, "seed": seed, "measured": "gibbs"}
        one |= {"dataset": f"gibbs_{cells}", "bins": 10000 if sweep else 300, "cells": cells, "chains": 1}
        seconds = (0.04 if sweep else 0.005) * cells * np.exp(0.05 * generator.standard_normal())
        metric = "seconds_per_sweep" if sweep else "seconds_per_step"
        rows.append({**one, "metric": metric, "value": seconds})
    for run, seed in itertools.product(
        ("gibbs_blocked", "gibbs_particles_cut", "gibbs_particles"), range(rounds)
    ):
        one = {**FIXED_POINT, **here, "run": run, "family": run, "seed": seed, "measured": "mixing"}
        one |= {"dataset": "mixing", "bins": 600, "cells": 10, "chains": 1}
        rows.append({**one, "metric": "effective_per_sweep", "value": 0.8 + 0.1 * generator.random()})
        rows.append({**one, "metric": "effective_per_second", "value": 15 + generator.random()})
    return tidy(rows, "wall_clock")


def curves(seeds: int, generator: np.random.Generator) -> pd.DataFrame:
    """Two races; in the second the sequential run is extrapolated."""
    rows = []
    for race, metric, end, reference in (
        ("one_cell", "elbo_per_bin", -1.3, -1.2),
        ("network", "weight_correlation", 0.8, np.nan),
    ):
        for (family, cost), seed, step in itertools.product(
            {"factorised": 1.0, "fixed_point": 1.6, "sequential": 8.0}.items(), range(seeds), (1, 10, 100)
        ):
            value = end - 0.5 / step + 0.01 * generator.standard_normal()
            row = {"race": race, "metric": metric, "run": family, "family": family, "dataset": "d"}
            row |= {"seed": seed, "step": step, "seconds": 0.01 * cost * step, "value": value}
            row["extrapolated"] = race == "network" and family == "sequential"
            rows.append({**row, "reference": reference})
    return pd.DataFrame(rows)


def ablation_sweeps(seeds: int, generator: np.random.Generator) -> pd.DataFrame:
    rows = []
    for sweeps, gap in {"1": 0.06, "2": 0.025, "4": 0.011, "8": 0.0075, "converged": 0.0072}.items():
        for seed in range(seeds):
            common = {
                "run": f"sweeps_{sweeps}",
                "dataset": "cells",
                "seed": seed,
                "posterior": "autoregressive",
                "objective": "relaxed_pmf",
                "sampler": "fixed_point",
                "sweeps": sweeps,
            }
            noise = np.exp(0.15 * generator.standard_normal(2))
            rows.append({**common, "metric": "gap_per_bin", "value": gap * noise[0]})
            rows.append({**common, "metric": "gap_at_k_per_bin", "value": gap**0.9 * noise[1]})
    return tidy(rows, "ablation_sweeps")


def ablation_temperature(seeds: int, generator: np.random.Generator) -> pd.DataFrame:
    rows = []
    for schedule, gap in {
        "0.5 → 0.15": 0.0071,
        "0.15": 0.012,
        "0.3": 0.010,
        "0.5": 0.017,
        "0.7": 0.022,
    }.items():
        for seed in range(seeds):
            rows.append(
                {
                    "run": f"run_{len(schedule)}_{gap}",
                    "dataset": "cells",
                    "seed": seed,
                    "posterior": "autoregressive",
                    "objective": "relaxed_pmf",
                    "sampler": "fixed_point",
                    "schedule": schedule,
                    "metric": "gap_per_bin",
                    "value": gap * np.exp(0.15 * generator.standard_normal()),
                }
            )
    return tidy(rows, "ablation_temperature")


def traces(
    generator: np.random.Generator, cells: int = 4, bins: int = 600, rate: float = 30.0
) -> pd.DataFrame:
    """What `real_cells` shows of four cells."""
    parts = []
    for cell in range(cells):
        true = generator.poisson(0.1, bins)
        around = np.convolve(true, np.ones(30), "same")
        parts.append(
            pd.DataFrame(
                {
                    "cell": f"DS{cell:02d}_c00",
                    "dataset": f"DS{cell:02d}",
                    "indicator": "GCaMP6f",
                    "correlation": 0.6 + 0.1 * cell,
                    "time_s": np.arange(bins) / rate,
                    "trace": np.convolve(true, 0.8 ** np.arange(30))[:bins]
                    + 0.4 * generator.standard_normal(bins),
                    "true": true,
                    "expected": true * 0.8,
                    "true_1s": around,
                    "low_1s": np.maximum(around - 2, 0),
                    "high_1s": around + 1,
                }
            )
        )
    return pd.concat(parts)


def write(folder: Path, experiment: str, seeds: int = 5) -> Path:
    """Write the tables of `experiment` under `folder`; return the experiment's results folder."""
    generator = np.random.default_rng(1)
    makers: dict[str, Callable[..., pd.DataFrame]] = {
        "uncertainty": uncertainty,
        "bias": bias,
        "recordings": recordings,
        "wall_clock": wall_clock,
        **network_tables.MAKERS,
        "instances": instance_tables.instances,
        "families": family_tables.families,
        "ablation_sweeps": ablation_sweeps,
        "ablation_temperature": ablation_temperature,
    }
    out = folder / experiment
    out.mkdir(parents=True, exist_ok=True)
    makers[experiment](seeds, generator).to_csv(out / "table.csv", index=False)
    if experiment == "uncertainty":
        examples(generator, list(UNCERTAINTY.index), 2, exact=True).to_csv(out / "examples.csv", index=False)
        history(list(UNCERTAINTY.index), generator).to_csv(out / "history.csv", index=False)
    if experiment == "wall_clock":
        curves(seeds, generator).to_csv(out / "curves.csv", index=False)
    if experiment == "connectivity":
        network_tables.weights(generator).to_csv(out / "weights.csv", index=False)
    if experiment == "recordings":
        examples(generator, ["oasis", "factorised", "fixed_point"], seeds, exact=False, bins=1500).to_csv(
            out / "examples.csv", index=False
        )
    return out


FIGURES = {
    "uncertainty": ["gap", "count", "dependencies", "example", "training"],
    "bias": ["gap_temperature", "count_temperature", "parameters"],
    "recordings": ["traces", "correlation"],
    "wall_clock": ["sampling", "step_time", "five", "races", "sweeps", "gibbs"],
    **network_tables.FIGURES,
    "instances": ["differences", "region"],
    "families": ["families"],
    "ablation_sweeps": ["sweeps"],
    "ablation_temperature": ["schedule"],
}
