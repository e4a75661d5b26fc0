"""The rule of the house: imports run one way, by the table of floors in docs/architecture.md."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from dfp.stages.provenance import PACKAGE, direct_imports, imports_of, modules

ROOT = Path(__file__).resolve().parent.parent
TABLE = ROOT / "docs" / "architecture.md"
LONGEST = 400
#: what draws and judges from tables has to start quickly, on machines without torch too
WITHOUT_TORCH = (
    "dfp.plotting",
    "dfp.results.judging",
    "dfp.results.catalogue",
    "dfp.results.tables",
    "dfp.stages.plot",
    "dfp.stages.claims",
    "dfp.stages.aggregate",
    "dfp.stages.provenance",
)


def floors(table: Path = TABLE) -> dict[str, int]:
    """Floor of each package (or module beside them) by the table: rows ``| floor | `name/`, … | … |``."""
    found: dict[str, int] = {}
    for line in table.read_text(encoding="utf-8").splitlines():
        row = re.match(r"\| (\d+) \| ([^|]+) \|", line)
        if row:
            found |= {name.rstrip("/"): int(row[1]) for name in re.findall(r"`([\w/]+)`", row[2])}
    return found


def violations(package: Path, known: dict[str, int]) -> list[str]:
    """Imports that do not go down, and packages without a floor. Every
    import counts, in functions and for type checks too.
    """
    found = []
    for module in modules(package):
        own = room(module)
        if own is None:
            continue
        if own not in known:
            found.append(f"{module}: '{own}' has no floor")
            continue
        for target in sorted(direct_imports(module, package)):
            other = room(target)
            if other is None or other == own:
                continue
            if other not in known or known[other] >= known[own]:
                found.append(
                    f"{module} (floor {known[own]}) imports {target} (floor {known.get(other, 'none')})"
                )
    return found


def room(module: str) -> str | None:
    """The part of the package that a module belongs to; None for the package itself."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else None


def test_the_table_has_every_room() -> None:
    known = floors()
    assert known["core"] == 0
    assert known["models"] == known["posteriors"]
    assert {room(module) for module in modules()} - {None} == set(known)


def test_imports_run_one_way() -> None:
    assert violations(PACKAGE, floors()) == []


def circle(package: Path) -> list[str]:
    """Modules that import each other in a circle, in functions too; none is right."""
    try:
        TopologicalSorter({one: direct_imports(one, package) - {one} for one in modules(package)}).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_no_modules_import_each_other_in_a_circle(tmp_path: Path) -> None:
    assert circle(PACKAGE) == []
    package = tmp_path / "dfp"
    package.mkdir()
    for name, text in {
        "__init__": "",
        "a": "from dfp.b import x\n",
        "b": "def late():\n    import dfp.a\n",
    }.items():
        (package / f"{name}.py").write_text(text)
    assert set(circle(package)) == {"dfp.a", "dfp.b"}


@pytest.mark.parametrize(
    ("planted", "text"),
    [
        ("core/low.py", "from dfp.stages.high import work\n"),
        ("core/low.py", "import dfp.stages.high\n"),
        ("core/low.py", "def late():\n    from dfp.stages import high\n    return high\n"),
        (
            "core/low.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from dfp.stages.high import work\n",
        ),
        ("core/low.py", "from ..stages import high\n"),
        ("models/one.py", "from dfp.posteriors.other import Other\n"),
        ("posteriors/other.py", "import dfp.models.one\n"),
        ("attic/old.py", "x = 1\n"),
    ],
)
def test_a_planted_arrow_is_found(tmp_path: Path, planted: str, text: str) -> None:
    package = tmp_path / "dfp"
    sound = {
        "__init__.py": "",
        "core/__init__.py": "",
        "core/low.py": "x = 1\n",
        "models/__init__.py": "",
        "models/one.py": "from dfp.core.low import x\nfrom dfp import core\n",
        "posteriors/__init__.py": "",
        "posteriors/other.py": "from ..core.low import x\n",
        "stages/__init__.py": "",
        "stages/high.py": "from dfp.core.low import x\nfrom dfp.models.one import x as y\nwork = x + y\n",
    }
    known = {"core": 0, "models": 3, "posteriors": 3, "stages": 9}
    for name, content in sound.items():
        path = package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    assert violations(package, known) == []

    broken = tmp_path / "broken" / "dfp"  # a folder of its own: what was parsed is remembered by path
    package.rename(broken.parent.mkdir() or broken)
    (broken / planted).parent.mkdir(exist_ok=True)
    (broken / planted).write_text(text)
    found = violations(broken, known)
    assert len(found) >= 1
    assert all(planted.removesuffix(".py").replace("/", ".") in line for line in found)


def torch_imports(module: str) -> set[str]:
    """Modules among those that ``module`` reaches that import torch by name."""
    found = set()
    for name in imports_of(module):
        for node in ast.walk(ast.parse(modules()[name].read_text(encoding="utf-8"))):
            named = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            named += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if any(entry.split(".")[0] == "torch" for entry in named):
                found.add(name)
    return found


def light_modules() -> list[str]:
    return [
        name
        for name in modules()
        if any(name == entry or name.startswith(f"{entry}.") for entry in WITHOUT_TORCH)
    ]


def test_figures_and_claims_do_not_reach_torch() -> None:
    assert "dfp.stages.train" in torch_imports("dfp.stages.train")  # the check can fail
    # provenance asks torch for its version, in a function
    reached = {name: torch_imports(name) - {"dfp.stages.provenance"} for name in light_modules()}
    assert {name: found for name, found in reached.items() if found} == {}


def test_figures_and_claims_do_not_load_torch() -> None:
    plots = [str(path) for path in sorted((ROOT / "experiments").glob("*/plot.py"))]
    assert plots
    text = f"""
import importlib, sys
from pathlib import Path
for name in {light_modules()!r}:
    importlib.import_module(name)
from dfp.stages.plot import load_plots
for path in {plots!r}:
    load_plots(Path(path).parent)
print("torch" in sys.modules)
"""
    asked = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True, cwd=ROOT)
    assert asked.stdout.split()[-1] == "False"


def too_long(package: Path) -> list[str]:
    """Modules of more than ``LONGEST`` lines."""
    lengths = {
        name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in modules(package).items()
    }
    return [f"{name}: {length} lines" for name, length in lengths.items() if length > LONGEST]


def untold(package: Path) -> list[str]:
    """Modules, and public functions and classes in them, without a docstring."""
    found = []
    for name, path in modules(package).items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if not ast.get_docstring(tree):
            found.append(name)
        for node in tree.body:
            public = isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_")
            if any(ast.unparse(one) == "overload" for one in getattr(node, "decorator_list", ())):
                continue  # a signature; the function itself follows
            if public and not ast.get_docstring(node):
                found.append(f"{name}.{node.name}")
    return found


def test_files_are_short_and_told() -> None:
    assert too_long(PACKAGE) == []
    assert untold(PACKAGE) == []


def test_a_long_or_untold_file_is_found(tmp_path: Path) -> None:
    package = tmp_path / "planted"
    package.mkdir()
    (package / "__init__.py").write_text('"""Told."""\n')
    (package / "long.py").write_text('"""Told."""\n' + "x = 1\n" * LONGEST)
    (package / "mute.py").write_text('def f():\n    """Told."""\n\n\nclass C: ...\n\n\ndef _g(): ...\n')
    assert too_long(package) == [f"planted.long: {LONGEST + 1} lines"]
    assert untold(package) == ["planted.mute", "planted.mute.C"]


def test_models_and_posteriors_never_meet() -> None:
    for own, other in (("models", "posteriors"), ("posteriors", "models")):
        for name in modules():
            if room(name) == own:
                assert other not in {room(reached) for reached in imports_of(name)}, name
