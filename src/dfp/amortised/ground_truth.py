"""Windows of real recordings with true spikes, varied so that few cells teach much.

A window gets another frame rate (frames are averaged), another noise level (white noise is added) and another
amplitude (the trace is multiplied): by little where the indicator is told, since its amplitude is part of
what is learned, by much where it is not; its time is then stretched too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dfp.amortised.counts import LARGEST
from dfp.amortised.simulate import ABS_DIFFERENCE
from dfp.data.preprocess import average_frames, noise_sd
from dfp.data.recording import Recording

#: log-sd of the factor on the trace where the indicator is told, and where not (our choice)
SCALE_TOLD, SCALE_UNTOLD = 0.15, 0.6
#: log-sd of the factor on its time where the indicator is not told: slower and faster responses than any
#: recorded
STRETCH_UNTOLD = 0.25
#: the share of windows whose indicator is told, that are at 30 Hz, that are near noise 2, that get noise at
#: all
TOLD, AT_30_HZ, NEAR_2, NOISIER = 0.6, 0.5, 0.5, 0.85
#: the fewest finite frames of a window
FEWEST = 20


@dataclass(frozen=True, eq=False)
class Window:
    """Attributes: ``trace``, ``counts`` ``(T,)``; ``bin_seconds``; ``indicator``, None where not told."""

    trace: NDArray[np.float64]
    counts: NDArray[np.int64]
    bin_seconds: float
    indicator: str | None


def weights_of(recordings: Sequence[Recording]) -> NDArray[np.float64]:
    """How often each recording is drawn: √duration within a data set, data sets by the root of their sums."""
    size = np.array([np.sqrt(len(one.dff) / one.frame_rate) for one in recordings])
    sets = np.array([one.name.split("_")[0] for one in recordings])
    for name in np.unique(sets):
        size[sets == name] /= np.sqrt(size[sets == name].sum())
    return np.asarray(size / size.sum())


def draw_window(
    recording: Recording, bins: int, indicator: str | None, rng: np.random.Generator
) -> Window | None:
    """At most ``bins`` bins of a recording, varied; None where hardly a frame is finite there."""
    native = recording.frame_rate
    if rng.random() < AT_30_HZ:
        rate = min(30.0, native)
    else:
        rate = float(np.exp(rng.uniform(np.log(min(4.0, native)), np.log(min(native, 64.0)))))
    trace, counts, rate = rebinned(recording, rate, bins, rng)
    if np.isfinite(trace).sum() < FEWEST:
        return None
    told = indicator is not None and rng.random() < TOLD
    trace = trace * np.exp((SCALE_TOLD if told else SCALE_UNTOLD) * rng.standard_normal())
    if not told:
        rate = rate * float(np.exp(STRETCH_UNTOLD * rng.standard_normal()))
    level = 2 * np.exp(0.25 * rng.standard_normal())
    if rng.random() >= NEAR_2:
        level = float(np.exp(rng.uniform(np.log(0.5), np.log(8.0))))
    if rng.random() < NOISIER:
        wanted = level * np.sqrt(rate) / 100 / ABS_DIFFERENCE
        trace = trace + rng.standard_normal(len(trace)) * np.sqrt(max(wanted**2 - noise_sd(trace) ** 2, 0.0))
    return Window(trace, counts, 1 / rate, indicator if told else None)


def rebinned(
    recording: Recording, rate: float, bins: int | None = None, rng: np.random.Generator | None = None
) -> tuple[NDArray[np.float64], NDArray[np.int64], float]:
    """Trace and counts at ``rate`` Hz (at most the native one), and the rate; ``bins`` from anywhere."""
    native, dff = recording.frame_rate, recording.dff.astype(np.float64)
    first = 0
    if bins is not None and rng is not None:
        need = int(np.ceil(bins * native / rate)) + 1
        first = int(rng.integers(0, max(1, len(dff) - need + 1)))
        dff = dff[first : first + need]
    start = first / native
    if rate >= 0.995 * native:
        trace, rate = dff, native
    else:
        trace = average_frames(dff, native, rate)
    trace = trace[:bins]
    edges = start + np.arange(len(trace) + 1) / rate
    counts = np.histogram(recording.spike_times, edges)[0]
    return trace, np.minimum(counts, LARGEST), rate
