"""The traces that the figures show: the cells at the worst, the middle and the best correlation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from dfp.core.files import atomic_path

from .conditions import Scored

#: seconds around the second with most true spikes
SECONDS = 20.0
#: places among the cells, by correlation
PLACES = (0.1, 0.35, 0.65, 0.9)


def write_traces(table: pd.DataFrame, scored: Sequence[Scored], method: str, told: str, path: Path) -> None:
    """A row a frame: trace, true and expected count, 90% interval of the count in the second around it."""
    ordered = table.sort_values("correlation").dropna(subset=["correlation"]).reset_index(drop=True)
    by_name = {one.name: one for one in scored}
    frames = []
    for place in PLACES if len(ordered) else ():
        row = ordered.iloc[round(place * (len(ordered) - 1))]
        one, drawn = by_name[row["name"]], row["drawn"]
        width = max(1, round(one.frame_rate))
        sums = _around(drawn, width)
        low, high = np.quantile(sums, [0.05, 0.95], axis=0, method="inverted_cdf")
        busy = int(_around(one.counts[None], width)[0].argmax())
        half = int(SECONDS / 2 * one.frame_rate)
        start = min(max(0, busy - half), max(0, len(one.trace) - 2 * half))
        part = slice(start, start + 2 * half)
        frames.append(
            pd.DataFrame(
                {
                    "cell": one.name,
                    "dataset": one.dataset,
                    "indicator": one.indicator,
                    "correlation": row["correlation"],
                    "time_s": np.arange(len(one.trace))[part] / one.frame_rate,
                    "trace": one.trace[part],
                    "true": one.counts[part],
                    "expected": drawn.mean(0)[part],
                    "true_1s": _around(one.counts[None], width)[0][part],
                    "low_1s": low[part],
                    "high_1s": high[part],
                }
            )
        )
    if frames:
        with atomic_path(path) as temporary:
            pd.concat(frames).to_csv(temporary, index=False, float_format="%.6g")


def _around(counts: np.ndarray, width: int) -> np.ndarray:
    """Sums over the ``width`` frames around each, ``(S, T)``."""
    before = (width - 1) // 2
    padded = np.pad(counts.astype(np.int64), ((0, 0), (before + 1, width - before - 1)))
    total = padded.cumsum(1)
    return total[:, width:] - total[:, :-width]
