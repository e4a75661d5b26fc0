"""The typed configuration: what an experiment's ``config.yaml`` may say."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from dfp.core.errors import UserError
from dfp.core.parse import build
from dfp.data.told import CONSTANTS, Told, read_told
from dfp.models.kinds import DEFAULT, Observation, observation

SCALES = ("smoke", "default", "paper")
KINDS = ("simulated", "recordings", "study", "tables")


@dataclass(frozen=True)
class ObservationSpec:
    """The observation model that traces are simulated with: its kind, and that kind's settings."""

    kind: str
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class SimulationSpec:
    """A simulated data set.

    Attributes:
        network: the generator's ``kind`` (``independent``, ``sparse_random``, ``peer``, ``edges``) and its
            settings; for ``independent`` also ``ranges``, parameter → [low, high], from which each cell's
            ``rate_hz``, ``noise``, ``decay`` or ``history_1``, … is drawn by its own seed, in place of the
            one value for all cells (see ``dfp.data.instances``).
        seeds: for ``independent`` one cell per seed, side by side in one file; for networks a data set per
            seed (``slow_0``, ``slow_1``, … where ``slow`` has several).
        bin_rate: bins per second.
        bins, trials, test_trials: length, number of training and of held-out trials. Every trial starts
            without spikes before it.
        rise, decay: seconds; decay per bin d corresponds to −1/(bin_rate·ln d) seconds.
        amplitude, baseline, noise: fluorescence units.
        kernel_bins: the calcium response is cut after this many bins; 0 leaves it uncut.
        target_rate_hz: move all biases together until the mean rate is this; 0 leaves them.
        allow_supercritical: simulate even where flipped spikes multiply (spectral radius ρ ≥ 1).
        stretch: simulate so many bins at a time and write them at once, for recordings that memory does not
            hold, with noise of their own (another draw than with 0, and the same for any stretch above 0);
            0 draws whole trials.
        observation: the ``kind`` of observation model and its ``settings``, as ``model`` has them.
    """

    network: dict[str, Any]
    seeds: list[int]
    bin_rate: float = 30.0
    bins: int = 300
    trials: int = 64
    test_trials: int = 16
    rise: float = 0.0
    decay: float = 0.15
    amplitude: float = 1.0
    baseline: float = 0.0
    noise: float = 0.5
    kernel_bins: int = 0
    target_rate_hz: float = 0.0
    allow_supercritical: bool = False
    stretch: int = 0
    observation: dict[str, Any] = field(default_factory=lambda: {"kind": DEFAULT})

    def __post_init__(self) -> None:
        if not self.seeds or len(set(self.seeds)) != len(self.seeds) or min(self.seeds) < 0:
            wrong = sorted({seed for seed in self.seeds if seed < 0 or self.seeds.count(seed) > 1})
            found = self.seeds if len(self.seeds) <= 10 else f"{len(self.seeds)} with {wrong[:5]} among them"
            raise UserError(f"seeds: found {found}, expected a list of different numbers of at least 0")
        for name, lowest in (
            ("bins", 1),
            ("trials", 1),
            ("test_trials", 0),
            ("kernel_bins", 0),
            ("stretch", 0),
        ):
            if getattr(self, name) < lowest:
                raise UserError(f"{name}: found {getattr(self, name)}, expected at least {lowest}")
        for name in ("bin_rate", "decay", "amplitude", "noise"):
            if not getattr(self, name) > 0:
                raise UserError(f"{name}: found {getattr(self, name):g}, expected a number above 0")
        if self.rise < 0 or self.target_rate_hz < 0:
            raise UserError(
                f"rise, target_rate_hz: found {self.rise:g}, {self.target_rate_hz:g}, expected numbers of at "
                "least 0"
            )
        self.observed()

    def observed(self) -> Observation:
        """The kind that is simulated. Raises ``UserError`` for an unknown one, or unknown settings."""
        said = build(ObservationSpec, self.observation, "observation")
        return observation(said.kind, said.settings, "observation.")


@dataclass(frozen=True)
class RecordingsSpec:
    """Real recordings with known spikes, cell by cell (a panel of independent cells).

    Attributes:
        cells: keys of the cells (``DS09_c00_s00``).
        seconds: use at most this much of each recording.
        rate_hz: frames are averaged down to this rate; cells recorded more slowly are refused.
        bins_per_frame: latent bins per frame. Several spikes can fall into one frame of a real recording
            while a bin holds one at most; the frame is then the fluorescence in the last of its bins, and the
            bins before are not observed.
        baseline_seconds: width of the rolling baseline that is subtracted; 0 for none.
        rate_guess_hz: firing rate that inference starts from.
        history: lags of the own-history filter, started at 0.
        rise, decay: seconds by indicator; where learned, the start.
    """

    cells: list[str]
    seconds: float = 120.0
    rate_hz: float = 30.0
    bins_per_frame: int = 1
    baseline_seconds: float = 30.0
    rate_guess_hz: float = 1.0
    history: int = 2
    rise: dict[str, float] = field(default_factory=dict)
    decay: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.cells:
            raise UserError("cells: found none, expected at least one cell's key")
        if not (self.seconds > 0 and self.rate_hz > 0 and self.rate_guess_hz > 0):
            raise UserError(
                f"seconds, rate_hz, rate_guess_hz: found {self.seconds:g}, {self.rate_hz:g}, "
                f"{self.rate_guess_hz:g}, expected numbers above 0"
            )
        if self.bins_per_frame < 1 or self.history < 0 or self.baseline_seconds < 0:
            raise UserError(
                f"bins_per_frame, history, baseline_seconds: found {self.bins_per_frame}, {self.history}, "
                f"{self.baseline_seconds:g}, expected at least 1, 0 and 0"
            )


@dataclass(frozen=True)
class TablesSpec:
    """Tables of other experiments, put together.

    Attributes:
        of: those experiments, at the same scale.
        metrics: what is kept of them.
    """

    of: list[str]
    metrics: list[str]

    def __post_init__(self) -> None:
        if not self.of or len(set(self.of)) != len(self.of) or not self.metrics:
            raise UserError(
                f"of, metrics: found {self.of}, {self.metrics}, expected different experiments and at least "
                "one metric"
            )


@dataclass(frozen=True)
class ModelSpec:
    """The model that is fitted.

    Attributes:
        kind: the observation model (``dfp.models``, one file a kind).
        settings: what that kind has of settings.
        learn: parameters to learn; the others keep the value they start from.
        start: ``truth`` starts every parameter at the data set's own (the simulator's, or for recordings the
            estimates); ``data`` starts learned parameters from estimates that know no truth.
        told: calcium constant → the factor by which it is told wrong, one number for all cells or ``factor``
            and ``spread`` over cells (see ``dfp.data.told``). A constant that is not learned keeps what was
            told; one that is learned starts there, whatever ``start`` says.
    """

    kind: str = DEFAULT
    settings: dict[str, Any] = field(default_factory=dict)
    learn: list[str] = field(default_factory=list)
    start: str = "truth"
    told: dict[str, float | Told] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.start not in ("truth", "data"):
            raise UserError(f"start: found {self.start!r}, expected 'truth' or 'data'")
        read_told(self.told)
        record = self.observation().kind.Record
        record.check_names(self.learn)
        for name in self.told:
            if name not in record.constants:
                raise UserError(
                    f"told: found {name!r}, which the observation model '{self.kind}' does not have, "
                    f"expected some of {', '.join(name for name in CONSTANTS if name in record.constants)}"
                )

    def observation(self) -> Observation:
        """The kind that is fitted. Raises ``UserError`` for an unknown one, or unknown settings."""
        return observation(self.kind, self.settings, "")


@dataclass(frozen=True)
class EvaluationSpec:
    """What is measured on held-out trials, from hard samples.

    Attributes:
        samples: posterior samples per trial.
        iwae_samples: samples of the importance-weighted bound (at most ``samples``).
        exact: compare with the exact posterior (independent cells with a cut kernel).
        two_sample: run the classifier two-sample test against exact samples.
        two_sample_samples: samples of each kind per trial for it.
        max_sweeps: cap of the fixed point; hitting it is an error.
        at_sweeps: also evaluate after exactly this many sweeps (0: converged only).
        examples: trials whose traces and probabilities are kept for pictures.
        regression_samples: for coupled cells, hard samples per trial of the recording itself on which the
            model's weights are regressed ("M-step"); 0 for none.
        gibbs_sweeps: sweeps of Gibbs sampling, at the fitted parameters, by which these samples are refined
            for a second M-step; 0 for none.
        refinement_steps: for refined posteriors, numbers of refinement steps at inference, each evaluated;
            empty for the configured number only.
    """

    samples: int = 200
    iwae_samples: int = 100
    exact: bool = True
    two_sample: bool = False
    two_sample_samples: int = 32
    max_sweeps: int = 0
    at_sweeps: int = 0
    examples: int = 1
    regression_samples: int = 0
    gibbs_sweeps: int = 0
    refinement_steps: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.samples < 2 or not 1 <= self.iwae_samples <= self.samples:
            raise UserError(
                f"samples, iwae_samples: found {self.samples}, {self.iwae_samples}, "
                "expected at least 2 samples and no more importance samples than those"
            )
        if any(steps < 0 for steps in self.refinement_steps):
            raise UserError(
                f"refinement_steps: found {self.refinement_steps}, expected numbers of at least 0"
            )
        for name in (
            "two_sample_samples",
            "max_sweeps",
            "at_sweeps",
            "examples",
            "regression_samples",
            "gibbs_sweeps",
        ):
            if getattr(self, name) < 0:
                raise UserError(f"{name}: found {getattr(self, name)}, expected at least 0")


@dataclass(frozen=True)
class RunSpec:
    """One training: a posterior on a data set, in phases.

    Attributes:
        model, posterior: what is trained; ``posterior`` has a ``kind`` and that family's settings.
        phases: how, in order; keys as in ``dfp.training.phase.Phase``, with objective and sampler by their
            ``kind`` and settings.
        labels: columns that tell this run from others in the tables.
        datasets: names of the data sets it is trained on, or of their setting; empty for all.
        warm_start: another run whose posterior (and model) this one starts from, on the same data set.
        warm_start_model: take the other run's model parameters too; else they start as ``model`` says.
        seed: of windows and training noise, added to the data set's first seed.
        cost: measured seconds per step, relative to the runs that this one is compared with.
        equal_time: divide the phases' steps by ``cost``, so that all take about the same time.
    """

    posterior: dict[str, Any]
    phases: list[dict[str, Any]]
    model: ModelSpec = field(default_factory=ModelSpec)
    evaluation: EvaluationSpec = field(default_factory=EvaluationSpec)
    labels: dict[str, Any] = field(default_factory=dict)
    datasets: list[str] = field(default_factory=list)
    warm_start: str | None = None
    warm_start_model: bool = True
    seed: int = 0
    cost: float = 1.0
    equal_time: bool = False

    def __post_init__(self) -> None:
        if not self.cost > 0:
            raise UserError(f"cost: found {self.cost:g}, expected a number above 0")
        if not self.phases:
            raise UserError("phases: found none, expected at least one")
