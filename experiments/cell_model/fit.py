"""A cell's constants from its true spikes: the most probable ones, and how sharply they are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from dfp.amortised.priors import DECAYS, POWERS, RISES, read_priors
from dfp.data.preprocess import noise_sd

from .law import Array, Segment, log_densities, response

#: the constants of the response, as the priors have them: logarithms, but for the power
RESPONSE = ("amplitude", "decay", "rise", "power", "saturation")
#: those of baseline and noise: logarithms, but for the baseline (in noise sd of the trace)
NOISE = ("baseline", "noise", "slow", "slow_seconds", "tail", "shot")
NAMES = (*RESPONSE, *NOISE, "delay")
#: what a step of the optimisation is measured in
UNITS = {"power": 0.3, "baseline": 1.0, "delay": 0.01}
#: bounds, on the same scales; the delay in seconds
BOUNDS = {
    "amplitude": (np.log(1e-3), np.log(20.0)),
    "decay": tuple(np.log(DECAYS)),
    "rise": tuple(np.log(RISES)),
    "power": POWERS,
    "saturation": (np.log(1e-4), np.log(1.0)),
    "baseline": (-30.0, 30.0),
    "noise": (np.log(1e-4), np.log(5.0)),
    "slow": (np.log(1e-4), np.log(5.0)),
    "slow_seconds": (np.log(1.0), np.log(100.0)),
    "tail": (np.log(2.2), np.log(100.0)),
    "shot": (np.log(1e-3), np.log(1e3)),
    "delay": (-0.06, 0.06),
}
#: mean and sd of weak normal laws of the other constants, so that none runs away (our choice)
WEAK = {
    "slow_seconds": (np.log(5.0), 1.5),
    "tail": (np.log(8.0), 1.0),
    "shot": (0.0, 1.5),
    "delay": (0.0, 0.02),
}
#: sd of the log of the noise about the trace's own between frames (our choice)
NOISE_LOG_SD = 0.7
#: the published spreads, widened: a cell is not to be pulled to its indicator before the rule does so
WIDER = 1.5
#: the parts of the law, and the constants that leave each out; the delay is no part of it
NO_DELAY = {"delay": 0.0}
WITHOUT: dict[str, dict[str, float]] = {
    "rise": {"rise": float(np.log(RISES[0]))},
    "power": {"power": 1.0},
    "saturation": {"saturation": -np.inf},
    "slow": {"slow": -np.inf},
    "tails": {"tail": np.inf},
    "shot": {"shot": -np.inf},
}


@dataclass(frozen=True, eq=False)
class Fitted:
    """The most probable constants of a cell and minus the log joint there, in nats."""

    constants: dict[str, float]
    loss: float

    def plain(self, name: str) -> float:
        """A constant in its own unit."""
        value = self.constants[name]
        return value if name in UNITS else float(np.exp(value))


@dataclass(eq=False)
class Problem:
    """One cell: its segments, and the normal law of its response (mean and sd by the names of RESPONSE)."""

    segments: Sequence[Segment]
    prior: Mapping[str, tuple[float, float]]
    whole: bool = False
    _known: dict[tuple[float, ...], list[Array]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.scale = max(float(np.median([noise_sd(one.trace) for one in self.segments])), 1e-4)

    @property
    def held_out_frames(self) -> int:
        """Frames that are seen and that constants are not learned from; 1 where there are none."""
        kept = [np.isfinite(one.trace) & ~one.first for one in self.segments]
        return max(1, int(sum(one.sum() for one in kept)))

    def densities(self, constants: Mapping[str, float]) -> list[Array]:
        """Log densities of the frames of each segment, each given those before it."""
        noise = {name: float(np.exp(constants[name])) for name in NOISE if name != "baseline"}
        amplitude, level = np.exp(constants["amplitude"]), constants["baseline"] * self.scale
        found = []
        for one, shape in zip(self.segments, self.responses(constants), strict=True):
            bright = amplitude * shape
            found.append(log_densities(one.trace - bright - level, bright, one.frame, **noise))
        return found

    def responses(self, constants: Mapping[str, float]) -> list[Array]:
        """``response`` of each segment; the last ones are kept, since most steps change the noise only."""
        key = tuple(constants[name] for name in (*RESPONSE[1:], "delay"))
        if key not in self._known:
            if len(self._known) > 8:
                self._known.pop(next(iter(self._known)))
            decay, rise, saturation = np.exp([key[0], key[1], key[3]])
            moved = [Segment(one.trace, one.spikes + key[4], one.frame, one.first) for one in self.segments]
            self._known[key] = [response(one, decay, rise, key[2], saturation) for one in moved]
        return self._known[key]

    def log_likelihood(self, constants: Mapping[str, float], first: bool = True) -> float:
        """Of the frames that constants are learned from, or of the others."""
        parts = zip(self.densities(constants), self.segments, strict=True)
        if self.whole:
            return float(sum(found.sum() for found, _ in parts))
        return float(sum(found[one.first == first].sum() for found, one in parts))

    def log_prior(self, constants: Mapping[str, float], free: Sequence[str]) -> float:
        """Of the free constants, but for a constant."""
        laws = {**WEAK, "noise": (float(np.log(self.scale)), NOISE_LOG_SD), **self.prior}
        return -0.5 * sum(
            ((constants[name] - laws[name][0]) / laws[name][1]) ** 2 for name in free if name in laws
        )

    def start(self, power: float) -> dict[str, float]:
        """Where an ascent begins: the mean of the law, the trace's own noise, the amplitude by regression."""
        found = {name: self.prior[name][0] for name in RESPONSE}
        found |= {"power": power, "baseline": 0.0, "delay": 0.0, "tail": WEAK["tail"][0], "shot": -1.0}
        found |= {"noise": np.log(self.scale), "slow": np.log(self.scale), "slow_seconds": np.log(5.0)}
        shapes, top, under, levels = self.responses(found), 0.0, 0.0, []
        for one, shape in zip(self.segments, shapes, strict=True):
            known = np.isfinite(one.trace)
            x, y = shape[known] - shape[known].mean(), one.trace[known] - np.median(one.trace[known])
            top, under = top + float(x @ y), under + float(x @ x)
            levels.append(np.median(one.trace[known]))
        lowest, highest = BOUNDS["amplitude"]
        found["amplitude"] = float(np.clip(np.log(max(top / max(under, 1e-9), 1e-3)), lowest, highest))
        found["baseline"] = float(np.clip(np.median(levels) / self.scale, -25, 25))
        return found


def fit(problem: Problem, fixed: Mapping[str, float], start: Mapping[str, float], steps: int = 80) -> Fitted:
    """The most probable free constants, by L-BFGS within bounds, from ``start``."""
    free = [name for name in NAMES if name not in fixed]
    units = np.array([UNITS.get(name, 0.5) for name in free])
    limits = [tuple(np.asarray(BOUNDS[name]) / unit) for name, unit in zip(free, units, strict=True)]

    def loss(x: NDArray[np.float64]) -> float:
        constants = {**fixed, **dict(zip(free, x * units, strict=True))}
        value = -problem.log_likelihood(constants) - problem.log_prior(constants, free)
        return value if np.isfinite(value) else 1e12

    begin = np.clip([start[name] for name in free] / units, *np.transpose(limits))
    options = {"maxiter": steps, "eps": 1e-4, "ftol": 1e-7}
    found = minimize(loss, begin, method="L-BFGS-B", bounds=limits, options=options)
    return Fitted({**fixed, **dict(zip(free, (found.x * units).tolist(), strict=True))}, float(found.fun))


def fit_law(problem: Problem, steps: int = 80) -> Fitted:
    """The whole law, from a nearly linear and a supralinear start."""
    starts = [problem.start(power) for power in (1.1, 1.6)]
    return min((fit(problem, NO_DELAY, one, steps) for one in starts), key=lambda found: found.loss)


def precision(problem: Problem, fitted: Fitted, step: float = 0.05) -> NDArray[np.float64]:
    """Minus the curvature of the log likelihood in the response, noise and baseline fitted along, ``(5, 5)``.

    Finite differences about the fit; directions that the trace says nothing of have precision 0.
    """
    free = [name for name in NAMES if name != "delay"]
    steps = np.array([step * UNITS.get(name, 0.5) for name in free])

    def value(moves: NDArray[np.float64]) -> float:
        moved = {name: fitted.constants[name] + by for name, by in zip(free, moves * steps, strict=True)}
        return problem.log_likelihood({**fitted.constants, **moved})

    unit = np.eye(len(free))
    middle, ups = value(np.zeros(len(free))), [value(one) for one in unit]
    downs = [value(-one) for one in unit]
    curve = np.zeros((len(free), len(free)))
    for i in range(len(free)):
        curve[i, i] = 2 * middle - ups[i] - downs[i]
        for j in range(i):
            both = value(unit[i] + unit[j]) + value(-unit[i] - unit[j])
            curve[i, j] = curve[j, i] = -0.5 * (both + 2 * middle - ups[i] - downs[i] - ups[j] - downs[j])
    curve /= np.outer(steps, steps)
    kept, rest = slice(0, len(RESPONSE)), slice(len(RESPONSE), None)
    along = np.linalg.pinv(_positive(curve[rest, rest]), rcond=1e-8)
    return _positive(curve[kept, kept] - curve[kept, rest] @ along @ curve[rest, kept])


def _positive(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    values, vectors = np.linalg.eigh(0.5 * (matrix + matrix.T))
    return np.asarray((vectors * np.maximum(values, 0)) @ vectors.T)


def published(indicator: str | None, wider: float = WIDER) -> dict[str, tuple[float, float]]:
    """Mean and sd of each constant of the response in the published table, on the scale of the fits."""
    row = read_priors("published")[indicator or "unknown"]
    logs = [name for name in RESPONSE if name != "power"]
    laws = {name: (float(np.log(row[name])), wider * row[f"{name}_log_sd"]) for name in logs}
    laws["power"] = (row["power"], wider * row["power_sd"])
    return {name: laws[name] for name in RESPONSE}
