"""Doubts about recordings: how often clean ones are doubted, and planted faults are found.

    python benchmarks/doubts.py [--recordings FOLDER] [--population FILE.npz] [--number N]

False alarms are counted on cells of the prior at 2 to 500 Hz, each a recording of its own; on every recording
of FOLDER (public ones with true spikes, as `dfp pretrain --recordings` takes them) at its own rate, at 30 and
at 7.5 Hz; and on arrays `…_dff` (N, T) with `…_rate_hz` of FILE. Faults of random size are planted into
simulated recordings of 1 to 8 cells and, where there are any, into real ones. Prints the tables of
docs/doubts.md.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dfp.amortised.priors import Prior, read_priors
from dfp.amortised.simulate import draw_cell, simulate_cell
from dfp.data.doubts.base import NOTES, STOPS, Expected
from dfp.data.doubts.find import doubts_of
from dfp.data.recording import resample_recording
from dfp.data.recordings import load_recordings
from dfp.data.traces import Traces, cell_names

Rng = np.random.Generator
Fault = Callable[[Traces, Rng], tuple[Traces, Expected]]
MOST_FRAMES = 20_000


def traces_of(x: Any, rate: float, times: Any = None) -> Traces:
    return Traces(np.asarray(x, dtype=np.float32), rate, cell_names(None, x.shape[1], ""), times=times)


def simulated(rng: Rng, cells: int = 1) -> Traces:
    """Cells of one indicator of the prior; 60 to 240 s at 2 to 500 Hz."""
    rate = float(np.exp(rng.uniform(np.log(2.0), np.log(500.0))))
    frames = int(min(rng.uniform(60, 240) * rate, MOST_FRAMES))
    indicator = str(rng.choice([*read_priors("published")]))
    prior = Prior(None if indicator == "unknown" else indicator)
    columns = [
        simulate_cell(draw_cell(prior, 1 / rate, rng), frames, 1 / rate, int(rng.integers(2**31)))[0]
        for _ in range(cells)
    ]
    return traces_of(np.stack(columns, 1), rate)


def real_cells(folder: Path) -> dict[str, list[Traces]]:
    """Recordings by their rate: as recorded, and averaged to 30 and 7.5 Hz."""
    held = load_recordings(folder, max_nan_fraction=0.99)
    found: dict[str, list[Traces]] = {"own rate": [], "30 Hz": [], "7.5 Hz": []}
    for one in held:
        found["own rate"].append(traces_of(one.dff[:, None], one.frame_rate))
        for rate in (30.0, 7.5):
            if one.frame_rate > 1.25 * rate:
                dff = resample_recording(one, rate).dff
                found[f"{rate:g} Hz"].append(traces_of(dff[:, None], rate))
    return found


def populations(path: Path) -> Iterator[tuple[str, Traces]]:
    held = np.load(path)
    for key in (name for name in held.files if name.endswith("_dff")):
        rate = next(float(held[k]) for k in held.files if k.endswith("rate_hz") and k[:3] == key[:3])
        x = held[key].T
        yield key.removesuffix("_dff"), traces_of(x[:, np.isfinite(x).sum(0) > 10], rate)


def counts(t: Traces, rng: Rng) -> tuple[Traces, Expected]:
    return replace(t, x=np.exp(rng.uniform(np.log(20), np.log(5000))) * (1 + t.x)), Expected()


def zscore(t: Traces, rng: Rng) -> tuple[Traces, Expected]:
    return replace(t, x=(t.x - np.nanmean(t.x, 0)) / np.nanstd(t.x, 0)), Expected()


def steps(t: Traces, rng: Rng) -> tuple[Traces, Expected]:
    """One to four joints at least 8 s apart; levels of each cell by 0.1 to 1 dF/F."""
    x, size = t.x.copy(), np.exp(rng.uniform(np.log(0.1), np.log(1.0)))
    for k in range(1, 1 + (parts := int(rng.integers(1, 5)))):
        at = int(len(x) * (k + rng.uniform(-0.2, 0.2)) / (parts + 1))
        x[at:] += size * rng.choice([-1, 1], x.shape[1]) * rng.uniform(0.5, 1, x.shape[1])
    return replace(t, x=x.astype(np.float32)), Expected()


def light(t: Traces, rng: Rng) -> tuple[Traces, Expected]:
    """Every 2 to 20 s, 1 to 3 frames (a tenth of a second at most), 0.5 to 10 dF/F in every cell."""
    x, every = t.x.copy(), max(5, int(rng.uniform(2, 20) * t.frame_rate))
    wide = min(int(rng.integers(1, 4)), max(1, int(0.1 * t.frame_rate)))
    height = np.exp(rng.uniform(np.log(0.5), np.log(10.0)))
    for at in range(every, len(x) - 4, every):
        x[at : at + wide] += height
    return replace(t, x=x), Expected()


def blanked(t: Traces, rng: Rng) -> tuple[Traces, Expected]:
    """0.3 to 3 s of zeros every 10 s."""
    x, wide = t.x.copy(), max(5, int(rng.uniform(0.3, 3) * t.frame_rate))
    for at in range(wide, len(x) - wide, max(2 * wide, int(10 * t.frame_rate))):
        x[at : at + wide] = 0
    return replace(t, x=x), Expected()


def lost_frames(t: Traces, rng: Rng) -> tuple[Traces, Expected]:
    kept = rng.random(len(t.x)) > np.exp(rng.uniform(np.log(0.002), np.log(0.33)))
    return replace(t, x=t.x[kept], times=(np.arange(len(t.x)) / t.frame_rate)[kept]), Expected()


def two_rates(t: Traces, rng: Rng) -> tuple[Traces, Expected]:
    every = np.full(len(t.x), 1 / t.frame_rate)
    every[int(len(every) * rng.uniform(0.2, 0.8)) :] *= rng.uniform(1.05, 1.4)
    return replace(t, times=np.cumsum(every)), Expected()


def copied(t: Traces, rng: Rng) -> tuple[Traces, Expected]:
    times = int(rng.integers(2, 6))
    return replace(t, x=np.repeat(t.x, times, 0)[:MOST_FRAMES], frame_rate=t.frame_rate * times), Expected()


def lines(t: Traces, rng: Rng) -> tuple[Traces, Expected]:
    """Interpolated to two to five times the rate."""
    times = int(rng.integers(2, 6))
    at = np.arange(min(len(t.x) * times, MOST_FRAMES)) / times
    x = np.stack([np.interp(at, np.arange(len(t.x)), column) for column in t.x.T], 1)
    return replace(t, x=x.astype(np.float32), frame_rate=t.frame_rate * times), Expected()


#: name → (the doubt that should be raised, the fault)
FAULTS: dict[str, tuple[str, Fault]] = {
    "percent": ("unit", lambda t, rng: (replace(t, x=100 * t.x), Expected())),
    "percent, 0.15 told": ("unit", lambda t, rng: (replace(t, x=100 * t.x), Expected(amplitude=0.15))),
    "raw counts": ("unit", counts),
    "z-scores": ("unit", zscore),
    "15 told for fractions": ("amplitude", lambda t, rng: (t, Expected(amplitude=15.0))),
    "sign turned": ("sign", lambda t, rng: (replace(t, x=-t.x), Expected())),
    "trials joined": ("steps", steps),
    "light": ("outliers", light),
    "blanked to zero": ("frozen", blanked),
    "lost frames": ("clock", lost_frames),
    "two rates": ("clock", two_rates),
    "every frame 2 to 5 times": ("rate", copied),
    "interpolated": ("rate", lines),
}


def alarms(every: list[Traces]) -> tuple[int, Counter[str]]:
    """How many recordings, and how many of them have each doubt (a stop of any kind: ``stop``)."""
    found: Counter[str] = Counter()
    for traces in every:
        doubts = doubts_of(traces)
        found.update({doubt.name for doubt in doubts})
        found["stop"] += any(doubt.severity == "stop" for doubt in doubts)
    return len(every), found


def groups(cells: list[Traces], rng: Rng, number: int) -> list[Traces]:
    """Recordings of 1 to 8 cells out of recordings of one rate, cut to one length."""
    made: list[Traces] = []
    while len(made) < number:
        first = cells[int(rng.integers(len(cells)))]
        same = [one for one in cells if abs(one.frame_rate / first.frame_rate - 1) < 0.01]
        size = min(int(rng.choice([1, 2, 4, 8])), len(same))
        chosen = [same[n] for n in rng.choice(len(same), size, replace=False)]
        frames = min(len(one.x) for one in chosen)
        made.append(traces_of(np.hstack([one.x[:frames] for one in chosen]), first.frame_rate))
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--recordings", type=Path)
    parser.add_argument("--population", type=Path)
    parser.add_argument("--number", type=int, default=400)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    clean = {"simulated": [simulated(rng) for _ in range(options.number)]}
    if options.recordings:
        clean |= real_cells(options.recordings)
    if options.population:
        for name, traces in populations(options.population):
            clean[name] = [traces]
            clean[f"{name}, cell by cell"] = [
                traces_of(traces.x[:, [n]], traces.frame_rate) for n in range(traces.x.shape[1])
            ]
    names = ["stop", *STOPS, *NOTES]
    print("| |", " | ".join(["recordings", *names]), "|\n|" + "---|" * (len(names) + 2))
    for what, every in clean.items():
        size, found = alarms(every)
        print("|", " | ".join([what, str(size), *(f"{found[name]}" for name in names)]), "|", flush=True)
    rng = np.random.default_rng(1)
    sources = {
        "simulated": [simulated(rng, int(rng.choice([1, 2, 4, 8]))) for _ in range(options.number // 2)]
    }
    if options.recordings:
        every = [one for label in ("own rate", "30 Hz", "7.5 Hz") for one in clean[label]]
        sources["real"] = groups([one for one in every if len(one.x) > 100], rng, options.number // 2)
    print("\n| fault | doubt |", " | ".join(sources), "|\n|" + "---|" * (len(sources) + 2))
    for what, (name, fault) in FAULTS.items():
        shares = []
        for some in sources.values():
            hits = [any(d.name == name for d in doubts_of(*fault(traces, rng))) for traces in some]
            shares.append(f"{np.mean(hits):.0%}")
        print("|", " | ".join([what, name, *shares]), "|", flush=True)


if __name__ == "__main__":
    main()
