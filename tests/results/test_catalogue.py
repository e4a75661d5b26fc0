"""The catalogue of claims and who judges them: nothing judged unseen, nothing claimed unjudged."""

from __future__ import annotations

from pathlib import Path

import pytest

from dfp.core.errors import UserError
from dfp.core.folders import load_part
from dfp.results.catalogue import load_claims, read_catalogue

ROOT = Path(__file__).parents[2]
CATALOGUE = """
sources: {paper: A paper, goal: our own goal}
claims:
  - {id: A2, statement: Second, source: goal}
  - {id: A1, statement: First, source: paper}
"""
JUDGES = "def look(results):\n    '''How.'''\n    yield from ()\n\n\n"


@pytest.fixture
def experiments(tmp_path: Path) -> Path:
    """Two experiments: ``late`` judges A1, ``early`` judges both."""
    for name, order, judges in (("late", 2, "{'A1': look}"), ("early", 1, "{'A1': look, 'A2': look}")):
        folder = tmp_path / "experiments" / name
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text(f"question: Which?\norder: {order}\n")
        (folder / "claims.py").write_text(f"{JUDGES}JUDGES = {judges}\n")
    (tmp_path / "experiments" / "claims.yaml").write_text(CATALOGUE)
    return tmp_path / "experiments"


def test_claims_come_in_the_catalogues_order_and_the_experiments_own(experiments: Path) -> None:
    found = [(claim.id, claim.experiment, claim.source) for claim in load_claims(experiments)]
    assert found == [
        ("A2", "early", "our own goal"),
        ("A1", "early", "A paper"),
        ("A1", "late", "A paper"),
    ]
    assert {claim.rule for claim in load_claims(experiments)} == {"How."}


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("source: paper", "source: papr", "claim A1: unknown source 'papr' (did you mean 'paper'?)"),
        ("id: A2", "id: A1", "claim A1: found twice"),
        ("id: A2", "id: A3", "unknown claim 'A2'"),
        ("statement: Second, ", "", "claims[0]: the key 'statement' is missing"),
        ("claims:", "claims:\n  - {id: A0, statement: Lone, source: goal}", "claim A0: found no experiment"),
    ],
)
def test_a_fault_of_the_catalogue_is_one_sentence(
    experiments: Path, before: str, after: str, told: str
) -> None:
    path = experiments / "claims.yaml"
    assert before in CATALOGUE
    path.write_text(CATALOGUE.replace(before, after, 1))
    with pytest.raises(UserError) as error:
        load_claims(experiments)
    assert told in str(error.value) and str(experiments) in str(error.value) and "\n" not in str(error.value)


def test_judges_without_a_catalogue_or_without_a_table_of_judges_are_refused(experiments: Path) -> None:
    (experiments / "early" / "claims.py").write_text(JUDGES)
    with pytest.raises(UserError, match=r"early/claims\.py: JUDGES: found none"):
        load_claims(experiments)
    (experiments / "claims.yaml").unlink()
    with pytest.raises(UserError, match=r"claims\.yaml: no such file"):
        load_claims(experiments)
    for path in experiments.glob("*/claims.py"):
        path.unlink()
    assert load_claims(experiments) == ()  # an experiment of one's own that claims nothing


def test_the_repositorys_catalogue_is_judged_whole() -> None:
    claims = load_claims(ROOT / "experiments")
    entries = read_catalogue(ROOT / "experiments")
    assert [entry.id for entry in entries] == list(dict.fromkeys(claim.id for claim in claims))
    assert len({(claim.id, claim.experiment) for claim in claims}) == len(claims) >= 70


def test_folders_of_one_name_in_two_places_do_not_mix(experiments: Path, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere" / "experiments" / "early"
    other.mkdir(parents=True)
    (other / "claims.py").write_text("from .numbers import two\n\nJUDGES = {'B': two}\n")
    (other / "numbers.py").write_text("two = 2\n")
    first, second = load_part(experiments / "early", "claims"), load_part(other, "claims")
    assert set(first.JUDGES) == {"A1", "A2"} and second.JUDGES == {"B": 2}
    assert load_part(other, "claims") is second
