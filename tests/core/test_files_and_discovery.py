"""Atomic files, discovery of classes, hints in errors, and the memory setting."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from pathlib import Path

import pytest

import dfp.posteriors
from dfp.core.discovery import discover, pick
from dfp.core.errors import UserError, suggest
from dfp.core.files import atomic_path, read_json, write_json, write_text
from dfp.core.memory import keep_freed_memory
from dfp.posteriors.base import Posterior


def test_files_are_whole_or_absent(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "numbers.json"
    write_json(target, {"a": 1})
    with pytest.raises(RuntimeError), atomic_path(target) as temporary:
        assert temporary.parent == target.parent and temporary.suffix == ".json"
        temporary.write_text("half")
        raise RuntimeError("killed")
    assert read_json(target) == {"a": 1}
    assert [path.name for path in target.parent.iterdir()] == ["numbers.json"]
    write_text(target, "[2]")
    assert read_json(target) == [2]
    assert target.stat().st_mode & 0o777 == 0o644


def test_unreadable_json_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent\.json: no such file"):
        read_json(tmp_path / "absent.json")
    write_text(tmp_path / "bad.json", "{")
    with pytest.raises(UserError, match=r"bad\.json: not valid JSON"):
        read_json(tmp_path / "bad.json")


def _package(folder: Path, name: str, files: dict[str, str]) -> object:
    (folder / name).mkdir()
    for file, text in {"__init__": "", **files}.items():
        (folder / name / f"{file}.py").write_text(text)
    sys.path.insert(0, str(folder))
    try:
        return __import__(name)
    finally:
        sys.path.remove(str(folder))


class Shape(ABC):
    """A base to be found below."""

    @abstractmethod
    def area(self) -> float:
        """Its area."""


HEAD = "from test_files_and_discovery import Shape\n"


def test_concrete_named_classes_are_found_once(tmp_path: Path) -> None:
    package = _package(
        tmp_path,
        "shapes_found",
        {
            "square": HEAD + "class Square(Shape):\n  name = 'square'\n  def area(self): return 1.0\n",
            "cube": "from shapes_found.square import Square\nclass Nameless(Square):\n  pass\n",
            "abstract": HEAD + "class Round(Shape):\n  name = 'round'\n",
        },
    )
    assert list(discover(package, Shape)) == ["square"]  # type: ignore[arg-type, type-abstract]


def test_two_classes_of_one_name_are_an_error(tmp_path: Path) -> None:
    text = HEAD + "class One(Shape):\n  name = 'one'\n  def area(self): return 1.0\n"
    package = _package(tmp_path, "shapes_double", {"a": text, "b": text})
    with pytest.raises(TypeError, match="two classes are named 'one'"):
        discover(package, Shape)  # type: ignore[arg-type, type-abstract]


def test_an_unknown_name_is_told_with_the_nearest() -> None:
    known = discover(dfp.posteriors, Posterior)  # type: ignore[type-abstract]
    assert pick(known, "factorised", "here", "posterior").name == "factorised"
    with pytest.raises(
        UserError,
        match=r"here: unknown posterior 'factorized' \(did you mean 'factorised'\?\); known: autoreg",
    ):
        pick(known, "factorized", "here", "posterior")
    with pytest.raises(UserError, match="unknown posterior 3"):
        pick(known, 3, "here", "posterior")


def test_hints_are_given_only_where_they_help() -> None:
    assert suggest("temprature", ["temperature", "batch"]) == " (did you mean 'temperature'?)"
    assert suggest("xyz", ["temperature", "batch"]) == ""


def test_keeping_freed_memory_is_told_truthfully(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert keep_freed_memory() is False
