"""What README.md and docs/results.md say was found is what the tables hold; their links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dfp.results.intervals import mean_interval

ROOT = Path(__file__).parent.parent
REFERENCE = ROOT / "results" / "reference" / "default"
PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    "docs/results.md",
    "docs/method.md",
    "docs/recordings.md",
    "docs/architecture.md",
)
#: a number with its interval, "0.080 [0.062, 0.097]"
NUMBER = r"[+−-]?\d[\d,]*\.?\d*"
INTERVAL = re.compile(rf"({NUMBER}) \[({NUMBER}), ({NUMBER})\]")

ONE_CELL = {
    "factorised, relaxed pmf": "factorised",
    "factorised, score function": "factorised_score",
    "sequential, relaxed pmf": "sequential",
    "fixed point, relaxed pmf": "fixed_point",
    "fixed point, then score function": "fixed_point_score",
    "the same with a nonlinear history": "fixed_point_nonlinear",
    "twisted, wake-sleep": "twisted",
    "logistic flow": "logistic_flow",
    "refined, mean-passing": "refined_mean",
    "refined, straight-through (literal)": "refined_straight",
    "refined, straight-through (σ′)": "refined_sigma",
    "refined autoregressive": "refined_autoregressive",
}
CONNECTIONS = {
    "factorised": "factorised",
    "fixed point": "fixed_point",
    "fixed point, indirect inference": "fixed_point_indirect",
    "refined (straight-through)": "refined",
    "logistic flow, 3 networks": "logistic_flow",
    "factorised, then score function, 3 networks": "factorised_score",
    "fixed point, then score function, tied coupling, nonlinear history, 3 networks": "fixed_point_score",
    "OASIS, then regression": "oasis_glm",
    "OASIS, then lagged correlation": "oasis_correlation",
    "regression on the true spikes": "glm_true_spikes",
}
SHRINKAGE = {
    "blocked Gibbs, posterior mean": "gibbs_posterior",
    "blocked Gibbs, maximum likelihood": "gibbs_em",
    "twisted, indirect inference": "twisted_indirect",
    "fixed point, indirect inference": "fixed_point_indirect",
    "factorised, indirect inference": "factorised_indirect",
    "twisted, wake-sleep": "twisted",
    "fixed point, relaxed pmf": "fixed_point",
    "OASIS, then regression": "oasis_glm",
}
WEIGHTS = ("weight_correlation", "weight_slope", "weight_auc", "history_bias_1")


def rows_below(page: str, heading: str) -> dict[str, list[str]]:
    """Rows of the first table below a heading: cells by the words of the first."""
    text = (ROOT / page).read_text(encoding="utf-8").split(heading, 1)[1]
    table = re.search(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert table
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table[0].splitlines()[2:]]
    return {re.sub(r"[*]", "", row[0]): row[1:] for row in cells}


def number(text: str) -> float:
    return float(text.replace("−", "-").replace(",", ""))


def digits(text: str) -> int:
    return len(text.partition(".")[2])


def says(text: str, value: float) -> bool:
    """Whether ``text`` is ``value`` rounded to the digits shown, half a digit of grace."""
    return abs(number(text) - value) <= 0.5001 * 10.0 ** -digits(text) + 1e-12


def found(experiment: str, run: str, metric: str, **where: str) -> np.ndarray:
    table = pd.read_csv(REFERENCE / experiment / "table.csv", low_memory=False)
    chosen = (table.run == run) & (table.metric == metric)
    for column, value in where.items():
        chosen &= table[column].astype(str) == value
    return table[chosen].sort_values("seed").value.to_numpy()


@pytest.mark.parametrize(("label", "run"), ONE_CELL.items())
def test_the_table_of_one_cell_is_that_of_the_reference(label: str, run: str) -> None:
    gap, closed, bias, sd, accuracy = rows_below("docs/results.md", "## One cell")[label]
    match = INTERVAL.fullmatch(gap)
    assert match
    gaps = found("uncertainty", run, "gap_per_bin")
    assert all(map(says, match.groups(), mean_interval(gaps)))
    if closed:
        share = 1 - gaps.mean() / found("uncertainty", "factorised", "gap_per_bin").mean()
        paired = (1 - gaps / found("uncertainty", "factorised", "gap_per_bin")).mean()
        assert any(says(closed.rstrip("%"), 100 * value) for value in (share, paired))
    assert says(bias.rstrip("%"), 100 * found("uncertainty", run, "count_bias").mean())
    ratio = found("uncertainty", run, "count_sd") / found("uncertainty", run, "count_sd_exact")
    assert says(sd, ratio.mean())
    assert says(accuracy, found("uncertainty", run, "two_sample_accuracy").mean())


@pytest.mark.parametrize(
    ("experiment", "label", "run"),
    [
        *(("connectivity", *pair) for pair in CONNECTIONS.items()),
        *(("shrinkage", *pair) for pair in SHRINKAGE.items()),
    ],
)
def test_the_tables_of_connections_are_those_of_the_reference(experiment: str, label: str, run: str) -> None:
    heading = {"connectivity": "## Connections", "shrinkage": "## Shrinkage undone"}[experiment]
    row = rows_below("docs/results.md", heading)[label]
    where = {"setting": "slow"} if experiment == "connectivity" else {}
    for cell, metric in zip(row, WEIGHTS, strict=True):
        if cell == "–":
            continue
        match = INTERVAL.fullmatch(cell)
        assert match, cell
        values = found(experiment, run, metric, **where)
        assert all(map(says, match.groups(), mean_interval(values))), (metric, mean_interval(values))


def test_intervals_of_the_headline_are_those_of_the_claims() -> None:
    claims = pd.read_csv(REFERENCE / "claims.csv")
    headline = rows_below("README.md", "## What was found")
    checked = 0
    for label, (_, measured) in headline.items():
        named = set(re.findall(r"\b[CBFG]\d[a-z]?\b", label + measured))
        own = claims[["low", "high", "value"]][claims.claim.isin(named | {"C1", "G4"})].to_numpy()
        own = np.concatenate([own, -own[:, [1, 0, 2]]])  # "below by" is a difference with its sign turned
        for value, low, high in INTERVAL.findall(measured):
            assert any(
                says(low, row[0]) and says(high, row[1]) and says(value, row[2]) for row in own
            ) or any(
                says(value, mean) and says(low, least) and says(high, most)
                for mean, least, most in gaps_of_one_cell()
            ), f"{label}: {value} [{low}, {high}] is not in claims.csv"
            checked += 1
    assert checked >= 8


def gaps_of_one_cell() -> list[tuple[float, float, float]]:
    return [mean_interval(found("uncertainty", run, "gap_per_bin")) for run in ONE_CELL.values()]


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    prose = re.sub(r"```.*?```|`[^`\n]*`(?!\])", "", text, flags=re.DOTALL)  # a link's own words may be code
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", prose)
    missing = [
        link for link in links if "://" not in link and not (ROOT / page).parent.joinpath(link).exists()
    ]
    assert not missing


@pytest.mark.parametrize("page", ("README.md", "docs/results.md"))
def test_commands_name_experiments_that_exist(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    known = {path.parent.name for path in ROOT.glob("experiments/*/config.yaml")}
    known |= {"all", "ablations", "exact", "dashboards", "report"}
    named = re.findall(r"snakemake -j4 (\w+)", text)
    assert named
    assert set(named) <= known
