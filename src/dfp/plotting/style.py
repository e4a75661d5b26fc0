"""One colour per posterior family, one name per run, one look for every figure.

The palette is seaborn's `colorblind` one. A family keeps its colour in every figure; the marker shows the
objective.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from dfp.plotting import edges

_PALETTE = sns.color_palette("colorblind").as_hex()
INK = "#222222"
GUIDE = "#8a8a8a"
#: inches of the widest figure: on a page of 900 pixels its smallest print, 7 points, is 8 pixels high
WIDEST = 10.9
#: colours of what no figure knows: runs and families that a user adds
OTHERS = ("#8f3b76", "#4d7c0f", "#b8860b", "#2f4f6f", "#a0522d", "#5f5f9f")
#: the values of measures that can be no truth beyond them, by what their name has in it
BOUNDS = {"correlation": (-1.0, 1.0)} | dict.fromkeys(
    ("coverage", "accuracy", "auc", "_ap", "effective"), (0.0, 1.0)
)
#: where an axis of a measure has its target, and what that is called
TARGETS = {
    "weight_slope": (1.0, "unshrunk"),
    "m_step_slope": (1.0, "exact"),
    "history_bias_1": (0.0, "truth"),
    "history_bias_2": (0.0, "truth"),
    "rate_bias": (0.0, "truth"),
    "coverage_50": (0.5, "nominal"),
    "coverage_90": (0.9, "nominal"),
    "two_sample_accuracy": (0.5, "chance"),
}

FAMILIES: dict[str, tuple[str, str]] = {
    "factorised": ("factorised", _PALETTE[3]),
    "sequential": ("autoregressive, sequential", _PALETTE[9]),
    "fixed_point": ("autoregressive, fixed point", _PALETTE[0]),
    "compiled": ("autoregressive, compiled", "#0b3d62"),
    "logistic_flow": ("logistic flow", _PALETTE[1]),
    "planar_latents": ("planar flow of latents", "#8a6d00"),
    "radial_latents": ("radial flow of latents", "#5b3c88"),
    "refined": ("gradient-refined", _PALETTE[2]),
    "refined_fixed_point": ("gradient-refined fixed point", "#7cc4a4"),
    "twisted": ("twisted", _PALETTE[4]),
    "twisted_silent": ("twisted, no messages", _PALETTE[6]),
    "gibbs_em": ("blocked Gibbs, maximum likelihood", _PALETTE[5]),
    "gibbs_posterior": ("blocked Gibbs, posterior mean", "#7a4a1e"),
    "gibbs_blocked": ("Gibbs sweep, exact blocks", "#c79a3a"),
    "gibbs_particles": ("Gibbs sweep, particles", "#5b2c06"),
    "oasis": ("OASIS", "#6f6f6f"),
    "oasis_glm": ("OASIS, then logistic regression", "#595959"),
    "oasis_correlation": ("OASIS, then lagged correlation", "#a6a6a6"),
    "glm_true_spikes": ("logistic regression on the true spikes", INK),
    "exact": ("exact posterior", "#000000"),
}
_ALIASES = {"gradient_refined": "refined", "logistic": "logistic_flow", "peer": "oasis"}

OBJECTIVES = {
    "relaxed_pmf": ("relaxed pmf", "o"),
    "logistic_density": ("logistic density", "s"),
    "score_function": ("score function", "D"),
    "wake_sleep": ("wake-sleep", "h"),
    "multi_sample": ("multi-sample", "v"),
}

RUNS = {
    "factorised": "Factorised, relaxed pmf",
    "factorised_score": "Factorised, score function",
    "sequential": "Sequential, relaxed pmf",
    "fixed_point": "Fixed point, relaxed pmf",
    "fixed_point_score": "Fixed point, score function",
    "fixed_point_nonlinear": "Fixed point, nonlinear history",
    "twisted": "Twisted, wake-sleep",
    "logistic_flow": "Logistic flow",
    "planar_latents": "Planar flow of latents",
    "radial_latents": "Radial flow of latents",
    "factorised_longer": "Factorised, relaxed pmf, longer",
    "fixed_point_longer": "Fixed point, relaxed pmf, longer",
    "refined_mean": "Refined, mean-passing",
    "refined_straight": "Refined, straight-through",
    "refined_sigma": "Refined, straight-through σ′",
    "refined_autoregressive": "Refined autoregressive",
    "refined_fixed_point": "Refined fixed point",
    "oasis": "OASIS",
    "oasis_glm": "OASIS, then logistic regression",
    "oasis_correlation": "OASIS, then lagged correlation",
    "glm_true_spikes": "Logistic regression on the true spikes",
}

#: names of the data settings of the networks, as a figure says them
SETTINGS = {
    "slow": "slow rise\n(0.1 s)",
    "instant": "instant\nrise",
    "noisy": "slow rise,\nmore noise",
    "short": "slow rise,\n2,000 bins",
    "noise01": "0.1",
    "noise03": "0.3",
    "noise05": "0.5",
}

METRICS = {
    "gap_per_bin": "Gap to the exact log-evidence (nats per bin)",
    "spike_gap_per_bin": "Gap to the exact log-evidence (nats per bin)",
    "gap_at_k_per_bin": "Gap with K sweeps in evaluation too (nats per bin)",
    "rate_bias": "Resting logit b\n(learned − true)",
    "history_bias_1": "History, lag 1\n(learned − true)",
    "history_bias_2": "History, lag 2\n(learned − true)",
    "amplitude_bias": "Amplitude\n(error, % of true)",
    "noise_bias": "Noise sd\n(error, % of true)",
    "weight_correlation": "Correlation of learned\nand true weights",
    "weight_slope": "Slope of learned\non true weights",
    "weight_rmse": "RMSE of the weights (logits)",
    "weight_auc": "AUC of |w|",
    "weight_ap": "Average precision of |w|",
    "weight_sign_accuracy": "Signs right, of true connections",
}


def family(row: pd.Series[Any] | dict[str, Any]) -> str:
    """The family of a table's row.

    It is the `family` label where given, else derived from posterior, objective and sampler.
    """
    for column in ("family", "posterior"):
        name = row.get(column)
        if isinstance(name, str) and name:
            name = _ALIASES.get(name, name)
            if name in FAMILIES:
                return name
            if name.startswith("refined"):
                return "refined"
    if str(row.get("run", "")) in FAMILIES:
        return str(row["run"])
    if row.get("objective") == "logistic_density":
        return "logistic_flow"
    return str(row["sampler"]) if row.get("sampler") in ("sequential", "compiled") else "fixed_point"


def colour(name: str) -> str:
    """The colour of a family, the same in every figure; other names get one of `OTHERS`."""
    return FAMILIES[name][1] if name in FAMILIES else OTHERS[sum(map(ord, name)) % len(OTHERS)]


def family_name(name: str) -> str:
    """The name of a family in a legend; any other name is left as it is."""
    text = FAMILIES[name][0] if name in FAMILIES else name.replace("_", " ")
    return text[:1].upper() + text[1:]


def in_order(names: Iterable[str]) -> list[str]:
    """Families in the order of the legend, then all other names."""
    found = list(dict.fromkeys(names))
    return [*(name for name in FAMILIES if name in found), *(name for name in found if name not in FAMILIES)]


def bounds(metric: str) -> tuple[float, float] | None:
    """Least and greatest value that a metric can have; None where it has no bounds."""
    return next((found for part, found in BOUNDS.items() if part in metric), None)


def objective_name(name: str) -> str:
    """An objective as a figure says it."""
    return OBJECTIVES[name][0] if name in OBJECTIVES else str(name).replace("_", " ")


def marker(objective: str, family: str = "") -> str:
    """The marker of an objective; a triangle for refinement and for any objective without one of its own."""
    return "^" if family == "refined" else OBJECTIVES.get(objective, ("", "^"))[1]


def run_name(run: str) -> str:
    """The name of a run on an axis."""
    return RUNS.get(run, run.replace("_", " ").capitalize())


def two_lines(label: str) -> str:
    """A long label with its unit on a line of its own."""
    return label if len(label) < 32 or "\n" in label else label.replace(" (", "\n(", 1)


def number(value: object) -> str:
    """A size in a table as text: an integer without the decimal point that a column with gaps gives it."""
    found = float(str(value))
    return f"{found:,.0f}" if found == round(found) else f"{found:g}"


def setting(labels: Sequence[str], values: Sequence[object]) -> str:
    """The text of a measurement's setting, such as `T = 300, 1 cell, 4 samples, CPU, 2 threads`."""
    parts = []
    for label, value in zip(labels, values, strict=True):
        text = f"{value:g}" if isinstance(value, float) else str(value)
        if label == "bins":
            parts.append(f"T = {text}")
        elif label == "batch":
            parts.append(f"batch {text}")
        elif label == "device":
            parts.append({"cpu": "CPU", "cuda": "GPU"}.get(text, text))
        else:
            parts.append(f"{text} {label.removesuffix('s') if text == '1' else label}")
    return ", ".join(parts)


@contextmanager
def look() -> Iterator[None]:
    """The settings of every figure, in force inside the block only."""
    settings: Any = {
        **sns.axes_style("ticks"),
        **sns.plotting_context("paper"),
        "axes.edgecolor": INK,
        "axes.labelcolor": INK,
        "axes.labelsize": 9,
        "axes.titlesize": 9.5,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.linewidth": 0.8,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.unicode_minus": True,
        "figure.dpi": 100,
        "font.family": ["sans-serif"],
        "font.sans-serif": ["DejaVu Sans"],  # shipped with matplotlib: the same bytes on every machine
        "font.size": 9,
        "legend.fontsize": 8.5,
        "legend.frameon": False,
        "pdf.fonttype": 42,
        "savefig.dpi": 150,
        "svg.hashsalt": "dfp",
        "text.color": INK,
        "xtick.labelsize": 8.5,
        "ytick.labelsize": 8.5,
        "xtick.color": INK,
        "ytick.color": INK,
        "xtick.major.width": 0.8,
        "ytick.major.width": 0.8,
        "xtick.major.size": 3.5,
        "ytick.major.size": 3.5,
        "xtick.minor.size": 2,
        "ytick.minor.size": 2,
    }
    with mpl.rc_context(settings):
        yield


def figure(width: float, height: float) -> Figure:
    """An empty figure of `width` × `height` inches with a layout that keeps texts apart; no global state.

    Raises `ValueError` above `WIDEST` inches: its print would be too small on a page.
    """
    if width > WIDEST:
        raise ValueError(f"figure: found {width:g} inches, expected at most {WIDEST:g}: wrap it into rows")
    layout = ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.06, wspace=0.03, hspace=0.04)
    made = Figure(figsize=(width, height), layout=layout)
    FigureCanvasAgg(made)
    return made


def caption(drawn: Figure, text: str) -> None:
    """Put a wrapped caption below the panels; the layout makes room for it."""
    width = int(drawn.get_figwidth() * 16.4)
    drawn.supxlabel(
        "\n".join(textwrap.wrap(" ".join(text.split()), width)),
        x=0.012,
        ha="left",
        fontsize=8,
        color="#4d4d4d",
    )


def finish(drawn: Figure, scale: str) -> None:
    """Say below a figure what its edges mean, and above it the scale, where that is not `default`."""
    notes = list(edges.notes(drawn))
    if notes:
        caption(drawn, " ".join([drawn.get_supxlabel(), *notes]))
    if scale != "default":
        says = f"Scale {scale}" + (": the numbers mean nothing" if scale == "smoke" else "")
        title(drawn, f"{says}\n{drawn.get_suptitle()}".strip())


def title(drawn: Figure, text: str) -> None:
    """What the figure shows, in one line above the panels."""
    drawn.suptitle(text, x=0.012, ha="left", fontsize=11, fontweight="bold", color=INK)


def log_axis(axes: Axes, which: str) -> None:
    """A log axis with plain numbers: 1-2-5 ticks under about two decades, decades above."""
    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = axes.get_xlim() if which == "x" else axes.get_ylim()
    narrow = high / max(low, 1e-300) < 300
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if narrow else (1.0,), numticks=30))
    axis.set_major_formatter(
        FuncFormatter(lambda value, _: f"{value:g}" if 1e-4 <= value < 1e5 else f"{value:.0e}")
    )
    axis.set_minor_formatter(NullFormatter())
