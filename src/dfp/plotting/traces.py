"""Pictures of single traces.

They show fluorescence, the true spikes under it, and what each posterior says, bin by bin.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from dfp.plotting import style


def busiest_window(times: np.ndarray, spikes: np.ndarray, bins: int) -> tuple[float, float]:
    """Start and end (seconds) of the `bins` consecutive bins that hold the most true spikes.

    Of equals the first is taken.
    """
    if len(times) <= bins:
        return float(times[0]), float(times[-1])
    totals = np.convolve(np.nan_to_num(spikes), np.ones(bins), mode="valid")
    start = int(np.argmax(totals))
    return float(times[start]), float(times[start + bins - 1])


def cut(frame: pd.DataFrame, window: tuple[float, float]) -> pd.DataFrame:
    """The rows of `frame` whose `time_s` lies in `window`, in order of time."""
    low, high = window
    inside = frame["time_s"].between(low - 1e-9, high + 1e-9)
    return frame[inside].sort_values("time_s")


def bin_width(times: np.ndarray) -> float:
    """Width of a bin in seconds, from the bin times."""
    return float(np.median(np.diff(times))) if len(times) > 1 else 1.0


def fluorescence(axes: Axes, rows: pd.DataFrame, unit: str) -> None:
    """Draw the trace, with a tick under it for every bin with a true spike.

    Bins without an observation are left out.
    """
    times, trace = rows["time_s"].to_numpy(), rows["x"].to_numpy()
    seen = np.isfinite(trace)
    axes.plot(times[seen], trace[seen], color="#3f3f3f", lw=1.0)
    low, high = float(np.nanmin(trace)), float(np.nanmax(trace))
    span = (high - low) or 1.0
    spiking = times[rows["spike"].to_numpy() > 0]
    axes.vlines(spiking, low - 0.24 * span, low - 0.08 * span, color="black", lw=1.1)
    axes.set_ylim(low - 0.3 * span, high + 0.06 * span)
    axes.set_ylabel(unit)


def probability(
    axes: Axes, rows: pd.DataFrame, colour: str, exact: bool = True, own_units: bool = False
) -> None:
    """Draw P(spike | trace) per bin as filled steps.

    The exact marginal, where there is one, is a thin black line on top.

    `own_units` is for a method that gives no probability: the axis ends at its largest value.
    """
    times = rows["time_s"].to_numpy()
    width = bin_width(times)
    edges = np.append(times - width / 2, times[-1] + width / 2)
    values = rows["probability"].to_numpy(dtype=float)
    axes.stairs(values, edges, fill=True, facecolor=colour, edgecolor=colour, alpha=0.75, lw=0.4)
    if exact and rows["exact"].notna().any():
        axes.stairs(rows["exact"].to_numpy(dtype=float), edges, color="black", lw=0.8, baseline=None)
    top = float(np.nanmax(values))
    if own_units:
        axes.set_ylim(0, 1.05 * top if top > 0 else 1.0)
        axes.set_yticks([0])
    else:
        axes.set_ylim(0, max(1.0, 1.02 * top))
        axes.set_yticks([0, 1])


def first_trial(examples: pd.DataFrame) -> pd.DataFrame:
    """The rows of the first data set, seed and trial, in the order of the file."""
    first = examples.iloc[0]
    same = (examples[["dataset", "seed", "trial"]] == first[["dataset", "seed", "trial"]]).all(axis=1)
    return examples[same]


def run_colour(run: str, families: dict[str, str]) -> str:
    """The colour of a run's family; `families` maps run names to families."""
    return style.colour(families.get(run) or style.family({"run": run}))
