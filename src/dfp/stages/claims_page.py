"""Stage `page`: the claims as a page to read, self-contained, in a browser and in the report."""

from __future__ import annotations

import html
import re
from pathlib import Path

import numpy as np
import pandas as pd

from dfp.core.errors import UserError
from dfp.core.files import write_text
from dfp.stages.claims import JUDGED

NEEDED = ("claim", "statement", "source", "measured", "value", "low", "high", "n", "verdict", "claim_verdict")
COLOURS = {"holds": "#1a7f37", "fails": "#b3261e", "undecided": "#7a5c00", "not tested": "#6f6f6f"}
STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #222; max-width: 70rem; margin: 2rem auto }
table { border-collapse: collapse; width: 100%; margin: 1rem 0 2rem }
th, td { text-align: left; vertical-align: top; padding: .35rem .6rem; border-bottom: 1px solid #ddd }
th { position: sticky; top: 0; background: #fff }
td { overflow-wrap: anywhere }
"""


def page(table: Path, out: Path) -> None:
    """Write `out` (.html): a line a claim with its verdict, the figures behind each, and how it is judged.

    `table` is `claims.csv` of the stage `claims`; the rules are read from `claims.md` beside it.

    Raises:
        UserError: for a table that is missing or is none of claims.
    """
    try:
        frame = pd.read_csv(table, keep_default_na=False, na_values={"value": "", "low": "", "high": ""})
    except (OSError, pd.errors.ParserError, pd.errors.EmptyDataError):
        raise UserError(f"{table}: found no table, expected claims.csv (`dfp claims` makes it)") from None
    missing = [name for name in NEEDED if name not in frame.columns]
    if missing:
        raise UserError(f"{table}: found no column '{missing[0]}', expected a table of claims")
    scale = str(frame["scale"].iloc[0]) if len(frame) and "scale" in frame else ""
    note = "<p><strong>The numbers mean nothing at this scale.</strong></p>" if scale == "smoke" else ""
    short = frame.drop_duplicates("claim")
    summary = pd.DataFrame(
        {
            "Claim": short["claim"].map(
                lambda name: f'<a href="#{html.escape(name)}">{html.escape(name)}</a>'
            ),
            "Statement": short["statement"].map(html.escape),
            "Source": short["source"].map(html.escape),
            "Verdict": short["claim_verdict"].map(_verdict),
        }
    )
    parts = [f"<h1>Claims at the scale {html.escape(scale)}</h1>{note}", _table(summary)]
    parts.append("<h2>Figures behind the verdicts</h2>")
    for name, rows in frame.groupby("claim", sort=False):
        statement = html.escape(str(rows["statement"].iloc[0]))
        parts.append(f'<h3 id="{html.escape(str(name))}">{html.escape(str(name))}: {statement}</h3>')
        parts.append(_table(_figures(rows)))
    parts.append(_rules(table.with_suffix(".md")))
    body = "\n".join(parts)
    write_text(
        out,
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Claims</title>'
        f"<style>{STYLE}</style></head>\n<body>\n{body}\n</body></html>\n",
    )


def _table(frame: pd.DataFrame) -> str:
    with pd.option_context("display.max_colwidth", None):
        found: str = frame.to_html(index=False, escape=False, border=0)
    return found


def _figures(rows: pd.DataFrame) -> pd.DataFrame:
    """The figures of one claim, as they are read."""
    plain = [name for name in ("where", "threshold", "experiment") if name in rows]
    found = {name.capitalize(): rows[name].map(lambda text: html.escape(str(text))) for name in plain}
    values = [_value(row) for _, row in rows.iterrows()]
    measured = rows["measured"].map(lambda text: html.escape(str(text)))
    return pd.DataFrame(
        {"Measured": measured, "Value [95% interval]": values, "n": rows["n"], **found}
    ).assign(Verdict=rows["verdict"].map(_verdict))


def _value(row: pd.Series) -> str:
    if not np.isfinite(row["value"]):
        return "–"
    ends = f" [{row['low']:.3g}, {row['high']:.3g}]" if np.isfinite(row["low"]) else ""
    return html.escape(f"{row['value']:.3g}{ends} {row.get('unit', '')}".strip()).replace("-", "−")


def _verdict(text: object) -> str:
    """A verdict, in a colour where it is one word (and a reason), of none where conditions differ."""
    said = str(text)
    colour = COLOURS.get(said.partition(" (")[0], "#222")
    return f'<strong style="color: {colour}">{html.escape(said)}</strong>'


def _rules(text: Path) -> str:
    """The section that says how claims are judged: a paragraph and a list."""
    if not text.is_file():
        return ""
    _, _, section = text.read_text(encoding="utf-8").partition(JUDGED)
    lines = [
        re.sub(r"`([^`]+)`", r"<code>\1</code>", re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", html.escape(line)))
        for line in section.splitlines()
        if line.strip()
    ]
    items = "".join(f"<li>{line[2:]}</li>" for line in lines if line.startswith("- "))
    says = "".join(f"<p>{line}</p>" for line in lines if not line.startswith("- "))
    return f"<h2>{JUDGED.lstrip('# ')}</h2>{says}<ul>{items}</ul>"
