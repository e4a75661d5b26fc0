"""Where a fit of a recording starts: the amplitude that the posterior trained once makes of each trace.

A fit that started from the largest rises of a trace began with an amplitude several times too high where few
spikes fall alone; it then explained the trace by noise, and ended in silence.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dfp.core.errors import UserError
from dfp.data.own import Response
from dfp.data.preprocess import noise_level
from dfp.data.traces import Traces

#: noise levels ν (%/√Hz) of traces that can be dF/F; in another unit nothing is known of an amplitude
LEVELS = (0.1, 20.0)
#: joint samples of a cell's spikes that its amplitude is made of
SAMPLES = 50
#: the fewest expected spikes that say anything of an amplitude
SPIKES = 3.0


def learned_amplitudes(traces: Traces, response: Response) -> NDArray[np.float64]:
    """``(N,)`` peaks of a linear response to one spike; NaN where a trace tells none.

    Of each cell the trace is regressed on its expected spikes, as the posterior has them, through the
    response with the rise and decay that were told: what a linear model needs to explain it by them.

    Args:
        traces: without their slow baseline, in dF/F.
    """
    from dfp.amortised import load_pretrained  # compiles, which not every fit waits for

    posterior, found = load_pretrained(), []
    for trace in np.asarray(traces.x, dtype=np.float64).T:
        found.append(np.nan)
        if not LEVELS[0] < noise_level(trace, traces.frame_rate) < LEVELS[1]:
            continue
        try:
            drawn = posterior.condition(trace, traces.frame_rate).sample(SAMPLES, seed=0)
        except UserError:  # too few frames
            continue
        if drawn.expected.sum() < SPIKES:
            continue
        unit = through(drawn.expected, response, traces.frame_rate)
        seen = np.isfinite(trace)
        centred = unit[seen] - unit[seen].mean()
        slope = float(centred @ (trace[seen] - trace[seen].mean()) / max(float(centred @ centred), 1e-12))
        if slope > 0:
            found[-1] = slope
    return np.array(found)


def through(counts: NDArray[np.float64], response: Response, frame_rate: float) -> NDArray[np.float64]:
    """Counts ``(T,)`` through a response of peak 1: two exponentials, or one without a rise."""
    from scipy.signal import lfilter

    fall = np.exp(-1 / (response.decay * frame_rate))
    slow = lfilter([1.0], [1.0, -fall], counts)
    if not response.rise:
        return np.asarray(slow)
    climb = np.exp(-1 / (response.rise * frame_rate))
    quick = lfilter([1.0], [1.0, -climb], counts)
    frames = np.arange(1 + int(20 * response.decay * frame_rate))
    peak = float((fall**frames - climb**frames).max())
    return np.asarray((slow - quick) / peak) if peak > 0 else np.asarray(slow)
