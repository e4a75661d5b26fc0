"""The page of claims: every claim and figure of the table, text kept as text, no verdict that misleads."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pandas as pd
import pytest

from dfp.cli import main
from dfp.core.errors import UserError
from dfp.stages.claims_page import page

REFERENCE = Path(__file__).parents[2] / "results" / "reference" / "default"


def test_every_claim_and_every_figure_of_the_reference_is_on_the_page(tmp_path: Path) -> None:
    out = tmp_path / "claims.html"
    assert main(["page", "--claims", str(REFERENCE / "claims.csv"), "--out", str(out)]) == 0
    text, table = out.read_text(encoding="utf-8"), pd.read_csv(REFERENCE / "claims.csv")
    claims = table.drop_duplicates("claim")
    assert text.count("<h3 id=") == len(claims)
    assert text.count("<tr>") == len(claims) + len(table)
    for statement in claims["statement"]:
        assert html.escape(statement) in text
    assert "How each claim is judged" in text and text.count("<li>") >= len(claims)
    assert not re.findall(r"(?:src|href)=.?https?:", text)  # self-contained


def claim(**changed: object) -> pd.DataFrame:
    row = {"claim": "X1", "statement": "a < b & c", "source": "us", "measured": "gap", "unit": "nats"}
    row |= {"value": 0.5, "low": 0.25, "high": 0.75, "n": 5, "verdict": "holds", "claim_verdict": "holds"}
    return pd.DataFrame([{**row, "scale": "smoke", **changed}])


def test_text_stays_text_and_a_smoke_page_says_so(tmp_path: Path) -> None:
    claim().to_csv(tmp_path / "claims.csv", index=False)
    page(tmp_path / "claims.csv", tmp_path / "claims.html")
    text = (tmp_path / "claims.html").read_text(encoding="utf-8")
    assert "a &lt; b &amp; c" in text and "a < b" not in text
    assert "0.5 [0.25, 0.75] nats" in text
    assert "The numbers mean nothing at this scale" in text


def test_a_verdict_that_differs_by_condition_has_no_colour_of_one(tmp_path: Path) -> None:
    colours = {}
    for said in ("holds", "fails (interval below 0)", "holds in 4 of 14 conditions, fails in 6"):
        claim(claim_verdict=said, verdict="undecided").to_csv(tmp_path / "claims.csv", index=False)
        page(tmp_path / "claims.csv", tmp_path / "claims.html")
        text = (tmp_path / "claims.html").read_text(encoding="utf-8")
        (colours[said],) = re.findall(rf'color: (#\w+)">{re.escape(said)}<', text)
    assert len(set(colours.values())) == 3
    assert colours["holds in 4 of 14 conditions, fails in 6"] == "#222"


def test_what_is_no_table_of_claims_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"found no table, expected claims\.csv"):
        page(tmp_path / "claims.csv", tmp_path / "claims.html")
    (tmp_path / "claims.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="found no column 'claim'"):
        page(tmp_path / "claims.csv", tmp_path / "claims.html")
    assert not (tmp_path / "claims.html").exists()
