"""What a rule reruns for: the code that its stage reaches, and nothing else."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dfp.stages.provenance import TELLING, code_hash, commit, environment, imports_of, modules

SOUND = {
    "__init__.py": '"""A package."""\nversion = 1\n',
    "core/__init__.py": "",
    "core/numbers.py": '"""Numbers."""\n\ndef one():\n    """One."""\n    return 1\n',
    "core/unused.py": "never = 0\n",
    "families/__init__.py": '"""Found by discovery."""\n',
    "families/first.py": "from ..core.numbers import one\n",
    "families/second.py": "import math\n",
    "build.py": "import dfp.families\n",
    "train.py": "def work():\n    from dfp.build import make\n    return make\n",
    "draw.py": "from dfp.core import numbers\n",
    "tracking/__init__.py": "",
    "tracking/tracker.py": "from dfp.core.unused import never\n",
    "told.py": "from dfp.tracking import tracker\nfrom dfp.core.numbers import one\n",
}

Maker = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Maker:
    """Writes the small package with changes, each time into a folder of its own."""
    counter = itertools.count()

    def written(**changes: str) -> Path:
        package = tmp_path / str(next(counter)) / "dfp"
        for name, text in (
            SOUND | {key.replace("__", "/") + ".py": value for key, value in changes.items()}
        ).items():
            path = package / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return package

    return written


def test_imports_are_followed(make: Maker) -> None:
    package = make()
    assert imports_of("dfp.draw", package) == {"dfp", "dfp.core", "dfp.core.numbers", "dfp.draw"}
    # a package taken whole brings every module in it, since discovery finds them; a function's import counts
    families = {"dfp.families", "dfp.families.first", "dfp.families.second"}
    assert (
        imports_of("dfp.train", package)
        == {"dfp", "dfp.build", "dfp.core", "dfp.core.numbers", "dfp.train"} | families
    )
    with pytest.raises(KeyError):
        imports_of("dfp.nothing", package)


def test_a_name_is_followed_through_the_door_to_its_home(make: Maker) -> None:
    """What the package itself gives, lazily, counts where it is taken, and nowhere else."""

    def lazy(*more: str, **changes: str) -> Path:
        package = make(core__unused="from dfp import one\n", **changes)
        given = ["from dfp.core.numbers import one as one", *more]
        lines = ["from typing import TYPE_CHECKING", "if TYPE_CHECKING:", *(f"    {line}" for line in given)]
        (package / "__init__.py").write_text("\n".join(lines) + "\n")
        return package

    package = lazy()
    assert "dfp.core.numbers" in imports_of("dfp.core.unused", package)
    assert "dfp.core.numbers" not in imports_of("dfp.families.second", package)
    wider = lazy("from dfp.build import build as build")
    assert code_hash("dfp.core.unused", package=wider) == code_hash("dfp.core.unused", package=package)
    changed = lazy(core__numbers="def one():\n    return 2\n")
    assert code_hash("dfp.core.unused", package=changed) != code_hash("dfp.core.unused", package=package)


def test_a_circle_ends(make: Maker) -> None:
    package = make(
        core__numbers="from dfp.core.unused import never\n", core__unused="import dfp.core.numbers\n"
    )
    assert imports_of("dfp.core.numbers", package) >= {"dfp.core.numbers", "dfp.core.unused"}


@pytest.mark.parametrize("entry", ["dfp.train", "dfp.draw"])
def test_words_and_layout_do_not_count(make: Maker, entry: str) -> None:
    before = code_hash(entry, package=make())
    retold = make(
        core__numbers='"""Other words."""\n# a comment\n\n\ndef one():\n    """First."""\n    return (1)\n'
    )
    assert code_hash(entry, package=retold) == before
    assert code_hash(entry, package=retold, docstrings=True) != code_hash(
        entry, package=make(), docstrings=True
    )
    # a docstring that goes away altogether is still only words
    bare = make(core__numbers="def one():\n    return 1\n")
    assert code_hash(entry, package=bare) == before


def test_code_counts_where_it_is_reached(make: Maker) -> None:
    before, changed = make(), make(families__second="import math\nextra = 2\n")
    assert code_hash("dfp.train", package=changed) != code_hash("dfp.train", package=before)
    assert code_hash("dfp.draw", package=changed) == code_hash("dfp.draw", package=before)
    unused = make(core__unused="never = 1\n")
    for entry in ("dfp.train", "dfp.draw"):
        assert code_hash(entry, package=unused) == code_hash(entry, package=before)
    number = make(core__numbers="def one():\n    return 2\n")
    for entry in ("dfp.train", "dfp.draw"):
        assert code_hash(entry, package=number) != code_hash(entry, package=before)


def test_a_new_family_counts(make: Maker) -> None:
    before, more = make(), make(families__third="new = 3\n")
    assert code_hash("dfp.train", package=more) != code_hash("dfp.train", package=before)
    assert code_hash("dfp.draw", package=more) == code_hash("dfp.draw", package=before)


def test_the_mirror_does_not_count(make: Maker) -> None:
    before, changed = make(), make(tracking__tracker="from dfp.core.unused import never\nmore = 1\n")
    assert code_hash("dfp.told", package=changed) == code_hash("dfp.told", package=before)


def test_a_file_outside_counts_with_what_it_imports(make: Maker, tmp_path: Path) -> None:
    package = make()
    script, other = tmp_path / "a" / "plot.py", tmp_path / "b" / "plot.py"
    for path, text in (
        (script, "from dfp.core import numbers\n"),
        (other, "from dfp.core import numbers\nwidth = 3\n"),
    ):
        path.parent.mkdir()
        path.write_text(text)
    assert imports_of(script, package) == {"dfp", "dfp.core", "dfp.core.numbers"}
    assert code_hash(script, package=package) != code_hash(other, package=package)
    changed = make(core__numbers="def one():\n    return 2\n")
    assert code_hash(script, package=changed) != code_hash(script, package=package)
    assert code_hash(script, package=make(core__unused="never = 1\n")) == code_hash(script, package=package)


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Three experiments: ``one`` in three files, ``two`` that borrows of it, ``apart``."""
    files = {
        "one/study.py": "from .parts import fit\nfrom . import shapes as s\n",
        "one/parts.py": "from dfp.core import numbers\nfit = 1\n",
        "one/shapes.py": "wide = 1\n",
        "one/plot.py": "red = 1\n",
        "two/study.py": "from ..one.parts import fit\n",
        "two/claims.py": "from experiments.one.shapes import wide\n",
        "apart/study.py": "from dfp.core import numbers\n",
    }
    for name, text in files.items():
        path = tmp_path / "experiments" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "experiments"


@pytest.mark.parametrize(
    ("changed", "reruns"),
    [
        ("one/parts.py", {"one/study.py", "two/study.py"}),
        ("one/shapes.py", {"one/study.py", "two/claims.py"}),
        ("one/plot.py", {"one/plot.py"}),
        ("apart/study.py", {"apart/study.py"}),
    ],
)
def test_a_changed_helper_reruns_exactly_what_reaches_it(
    folders: Path, make: Maker, changed: str, reruns: set[str]
) -> None:
    package = make()
    entries = ["one/study.py", "one/plot.py", "two/study.py", "two/claims.py", "apart/study.py"]
    before = {entry: code_hash(folders / entry, package=package) for entry in entries}
    text = (folders / changed).read_text()
    later = folders.parent / "later" / "experiments"  # what was parsed is remembered by path
    shutil.copytree(folders, later)
    (later / changed).write_text(text + "more = 2\n")
    after = {entry: code_hash(later / entry, package=package) for entry in entries}
    assert {entry for entry in entries if before[entry] != after[entry]} == reruns


def test_what_a_sibling_imports_of_the_package_counts(folders: Path, make: Maker) -> None:
    package, changed = make(), make(core__numbers="def one():\n    return 2\n")
    assert imports_of(folders / "one" / "study.py", package) == {"dfp", "dfp.core", "dfp.core.numbers"}
    entry = folders / "two" / "study.py"
    assert code_hash(entry, package=package) != code_hash(entry, package=changed)


def test_nothing_that_a_stage_loads_is_missed() -> None:
    """Modules that Python really has after importing the stages and
    finding all families, against the static walk.
    """
    stages = ["simulate", "train", "evaluate", "peers", "aggregate", "study", "plot", "claims"]
    # one process, which keeps torch and forgets dfp after each stage
    text = f"""
import importlib, json, sys
loaded = {{}}
for stage in {stages!r}:
    importlib.import_module("dfp.stages." + stage)
    if "dfp.config.build" in sys.modules:
        from dfp.config.build import objectives, posteriors, samplers
        objectives(), posteriors(), samplers()
    loaded[stage] = [name for name in sys.modules if name.split(".")[0] == "dfp"]
    for name in loaded[stage]:
        del sys.modules[name]
print(json.dumps(loaded))
"""
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    for stage, loaded in json.loads(done.stdout).items():
        assert f"dfp.stages.{stage}" in loaded
        assert set(loaded) <= imports_of(f"dfp.stages.{stage}"), stage


def test_a_figure_is_no_reason_to_train() -> None:
    trained = imports_of("dfp.stages.train") - TELLING
    for apart in (
        "dfp.plotting",
        "dfp.results.judging",
        "dfp.references",
        "dfp.metrics",
        "dfp.stages.evaluate",
        "dfp.cli",
    ):
        assert not [name for name in trained if name == apart or name.startswith(f"{apart}.")]
    assert {
        name for name in modules() if name.startswith(("dfp.posteriors.", "dfp.objectives.", "dfp.samplers."))
    } <= trained
    assert "dfp.training.loop" in trained
    assert "dfp.training.loop" not in imports_of("dfp.stages.plot") | imports_of("dfp.stages.claims")


def git(folder: Path, *arguments: str) -> None:
    who = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


def test_the_commit(make: Maker) -> None:
    package = make()
    root = package.parent
    (root / "src").mkdir()
    package = package.rename(root / "src" / "dfp")
    assert commit(package) is None  # no repository here
    git(root, "init", "-q")
    assert commit(package) is None  # a repository without a commit
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "first")
    clean = commit(package)
    assert clean is not None and len(clean) == 12
    (root / "notes.txt").write_text("not tracked\n")
    assert commit(package) == clean
    (package / "build.py").write_text("changed = True\n")
    assert commit(package) == f"{clean}+"
    # installed below another project's repository
    assert commit(package / "core") is None


def test_the_environment_is_told() -> None:
    facts = environment()
    assert facts["torch"] and facts["numpy"] and facts["python"].count(".") == 2
    assert facts["cores"] >= 1 and facts["threads"] >= 1
    assert facts["cpu"]
    json.dumps(facts)
