"""Stage `claims`: every table of a scale to one table of claims, measured figures, intervals and verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from dfp.core.errors import UserError
from dfp.core.files import atomic_path, write_text
from dfp.results.catalogue import load_claims
from dfp.results.intervals import BOOTSTRAP_FROM
from dfp.results.judging import NOT_TESTED, UNDECIDED, Claim, Finding, number, verdict
from dfp.results.tables import IncompleteTable, MissingResult, ResultTables

#: the section of the page that the table does not hold; the stage `page` takes it from there
JUDGED = "## How each claim is judged"
COLUMNS = (
    "claim",
    "statement",
    "source",
    "measured",
    "unit",
    "value",
    "low",
    "high",
    "n",
    "threshold",
    "verdict",
    "where",
    "claim_verdict",
    "experiment",
    "scale",
)


def not_tested(reason: str) -> Finding:
    """A claim that the tables say nothing of, and why."""
    return Finding("", "", np.nan, np.nan, np.nan, 0, "", f"{NOT_TESTED} ({reason})")


def findings(claim: Claim, tables: dict[str, ResultTables], scale: str) -> list[Finding]:
    """What the claim's experiment says about it; `not tested` with the reason where it says nothing.

    Raises `UserError` where the table is there but lacks a metric or a label that the claim asks of it: a
    verdict from the findings that are left would hide the one that is not.
    """
    if claim.experiment not in tables:
        return [not_tested(f"no table of the experiment '{claim.experiment}' at the scale '{scale}'")]
    found: list[Finding] = []
    try:
        found.extend(claim.judge(tables[claim.experiment]))  # keeps what came before an error
    except MissingResult as error:
        reason = str(error).removeprefix(f"{tables[claim.experiment].path}: ")
        if not found:
            return [not_tested(reason)]
        # what was found stands, failing or not; holding it cannot with a part untested
        found.append(
            replace(not_tested(reason), verdict=f"{UNDECIDED} (not tested: {reason})", where=found[-1].where)
        )
    except IncompleteTable as error:
        raise UserError(
            f"{error}; the claim {claim.id} asks for it: if the table is of another version of dfp, run the "
            f"experiment '{claim.experiment}' again; if a setting turned it off (evaluation: …), turn it on"
        ) from None
    except UserError as error:
        raise UserError(f"{error} (asked by the claim {claim.id})") from None
    return found or [not_tested(f"no run of the experiment '{claim.experiment}' tests it")]


def judge(tables: dict[str, ResultTables], scale: str, registry: Sequence[Claim]) -> pd.DataFrame:
    """One row per finding of every registered claim; `claim_verdict` sums up all findings of a claim id."""
    found = [(claim, finding) for claim in registry for finding in findings(claim, tables, scale)]
    overall = {
        claim.id: verdict([finding for other, finding in found if other.id == claim.id]) for claim, _ in found
    }
    rows = [
        (
            claim.id,
            claim.statement,
            claim.source,
            finding.measured,
            finding.unit,
            finding.value,
            finding.low,
            finding.high,
            finding.n,
            finding.threshold,
            finding.verdict,
            finding.where,
            overall[claim.id],
            claim.experiment,
            scale,
        )
        for claim, finding in found
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def markdown(frame: pd.DataFrame, scale: str, registry: Sequence[Claim]) -> str:
    """The table of claims to read: a summary, the figures behind it, and how each claim is judged."""
    lines = [
        f"# Claims at the scale `{scale}`",
        "",
        "| claim | statement | source | verdict |",
        "|---|---|---|---|",
    ]
    for _, row in frame.drop_duplicates("claim").iterrows():
        lines.append(
            f"| {row['claim']} | {row['statement']} | {row['source']} | **{row['claim_verdict']}** |"
        )
    lines += [
        "",
        "## Figures behind the verdicts",
        "Means over seeds, paired by seed where two posteriors are compared, with 95% intervals (t below "
        f"n = {BOOTSTRAP_FROM}, bootstrap above).",
        "",
        "| claim | measured | value [interval] | n | wanted | verdict | where | experiment |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for _, row in frame.iterrows():
        interval = f" [{number(row['low'])}, {number(row['high'])}]" if np.isfinite(row["low"]) else ""
        value = f"{number(row['value'])}{interval} {row['unit']}".strip() if row["n"] else "–"
        cells = [
            row["claim"],
            row["measured"] or "–",
            value,
            row["n"] or "–",
            row["threshold"] or "–",
            row["verdict"],
            row["where"] or "–",
            row["experiment"],
        ]
        lines.append("| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |")
    lines += [
        "",
        JUDGED,
        "A figure holds only when its whole interval is on the wanted side, fails only when its whole "
        "interval is on the other side, and is undecided otherwise. A claim holds where every figure of a "
        "condition holds, and fails where any of them fails. Intervals are two-sided: a figure that lies on "
        "its threshold comes out as holding once in 40 times, and as failing once in 40. There is no "
        "correction for the number of figures: of many, some verdicts next to a threshold are chance, and a "
        "condition of many figures fails more easily than one of few. A claim is not tested where its "
        "experiment has no table at this scale, or the table not the run or the condition that it is about, "
        "or the metric no value there. A metric that a claim asks of a run, and that a table with this run "
        "lacks, is an error: no claim is judged from the figures that are left.",
        "",
    ]
    lines += [f"- **{claim.id}** (`{claim.experiment}`): {claim.rule}" for claim in registry]
    return "\n".join(lines) + "\n"


def claims(results: Path, out_csv: Path, out_md: Path, experiments: Path = Path("experiments")) -> None:
    """Judge every registered claim from the tables under `results` (`results/<scale>`).

    What is claimed, and how it is judged, is read from `experiments` (its `claims.yaml`, and the `claims.py`
    of its folders).

    Writes one row per measured figure to `out_csv` and the same to read to `out_md`, each whole or not at
    all. A claim whose experiment has no table, or not the run that it is about, is reported as not tested.
    Raises `UserError` for a missing folder, a table that is broken, or one that lacks a metric that a claim
    asks of it; nothing is written then.
    """
    results = Path(results)
    if not results.is_dir():
        raise UserError(
            f"{results}: no such folder (expected results/<scale> with a table.csv per experiment)"
        )
    tables = {path.parent.name: ResultTables(path.parent) for path in sorted(results.glob("*/table.csv"))}
    if not any(Path(experiments).glob("*/config.yaml")):
        raise UserError(
            f"{experiments}: found no experiment, expected folders with a config.yaml, which say "
            "what is claimed (--experiments, or run it where they are)"
        )
    registry = load_claims(experiments)
    frame = judge(tables, results.name, registry)
    with atomic_path(out_csv) as temporary:
        frame.to_csv(temporary, index=False)
    write_text(out_md, markdown(frame, results.name, registry))
