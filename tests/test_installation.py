"""What is installed: the lock, the extras, and what a fit does without."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import numpy as np
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from dfp.core.extras import OPTIONAL

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
#: what torch asks for besides: its wheels for other machines, and what comes with an environment
FOREIGN = ("nvidia", "cuda", "triton", "setuptools")


def pins(text: str) -> dict[str, Version]:
    """The versions of a lock, all of whose other lines are comments.

    Raises ValueError for a line of any other form: an index, a path, a hash, a version of one build.
    """
    found: dict[str, Version] = {}
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        pin = re.fullmatch(r"([A-Za-z0-9._-]+)==([0-9][0-9a-z.]*)", line)
        if not pin:
            raise ValueError(f"{line!r}: expected name==version")
        name = canonicalize_name(pin[1])
        if name in found:
            raise ValueError(f"{name}: twice")
        found[name] = Version(pin[2])
    return found


def asked(extra: str) -> list[Requirement]:
    """What an extra asks for, the extras that it is made of included."""
    found = []
    for requirement in map(Requirement, EXTRAS[extra]):
        if requirement.name == PROJECT["name"]:
            for inner in requirement.extras:
                found += asked(inner)
        else:
            found.append(requirement)
    return found


def direct() -> list[Requirement]:
    return [*map(Requirement, PROJECT["dependencies"]), *asked("dev")]


def unmet(locked: dict[str, Version]) -> list[str]:
    """Direct dependencies that a lock lacks, or holds in a version that pyproject.toml does not allow."""
    return [
        f"{one}: {locked.get(canonicalize_name(one.name), 'not locked')}"
        for one in direct()
        if canonicalize_name(one.name) not in locked
        or locked[canonicalize_name(one.name)] not in one.specifier
    ]


def test_the_lock_has_every_direct_dependency_in_a_version_that_is_allowed() -> None:
    assert unmet(pins(LOCK.read_text(encoding="utf-8"))) == []


def test_a_lock_that_lags_behind_is_found() -> None:
    locked = pins(LOCK.read_text(encoding="utf-8"))
    assert unmet({**locked, "torch": Version("2.10.0")}) == ["torch<2.14,>=2.11: 2.10.0"]
    assert unmet({name: version for name, version in locked.items() if name != "seaborn"}) == [
        "seaborn>=0.13: not locked"
    ]


@pytest.mark.parametrize(
    "line",
    [
        "torch==2.13.0+cpu",
        "torch>=2.13",
        "dfp @ file:///home/me/dfp",
        "-e .",
        "--extra-index-url https://example.org/simple",
        "PyYAML==6.0\npyyaml==6.0",
    ],
)
def test_what_would_not_install_elsewhere_is_found(line: str) -> None:
    with pytest.raises(ValueError):
        pins(line)


def test_the_lock_holds_what_its_packages_ask_for_too() -> None:
    """Followed through the packages that are installed here in their locked versions."""
    locked = pins(LOCK.read_text(encoding="utf-8"))
    left, seen, missing = [canonicalize_name(one.name) for one in direct()], set(), []
    while left:
        name = left.pop()
        if name in seen or name.startswith(FOREIGN):
            continue
        seen.add(name)
        if name not in locked:
            missing.append(name)
            continue
        try:
            found = distribution(name)
        except PackageNotFoundError:
            continue
        if Version(Version(found.version).public) != locked[name]:
            continue
        for requirement in map(Requirement, found.requires or ()):
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                left.append(canonicalize_name(requirement.name))
    assert missing == [] and len(seen) > 20


def test_pythons_agree() -> None:
    """pyproject.toml, environment.yml and the lock mean the same versions of Python."""
    wanted = SpecifierSet(PROJECT["requires-python"])
    document = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    (python,) = [one for one in document["dependencies"] if str(one).startswith("python")]
    offered = SpecifierSet(python.removeprefix("python"))
    versions = [Version(f"3.{minor}") for minor in range(6, 40)]
    assert next(v for v in versions if v in wanted) == next(v for v in versions if v in offered)
    assert all(v in wanted for v in versions if v in offered)
    (tested,) = re.findall(r"^# python (\S+)$", LOCK.read_text(encoding="utf-8"), re.MULTILINE)
    assert Version(tested) in wanted and Version(tested) in offered


def test_every_optional_library_is_of_the_extra_that_is_told() -> None:
    for package, extra in OPTIONAL.values():
        assert package in {one.name for one in asked(extra)}
        assert package not in {Requirement(one).name for one in PROJECT["dependencies"]}
        assert package in {one.name for one in asked("all")}


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_make_env_keeps_to_the_lock_when_asked(tmp_path: Path) -> None:
    def told(*settings: str) -> str:
        command = ["make", "-n", "env", f"VENV={tmp_path}", *settings]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout

    assert "pip install" in told() and LOCK.name not in told()
    assert f"-c {LOCK.name} -e '.[dev]'" in told("LOCKED=1")
    # an environment with versions of its own is put right, one that keeps to the lock left alone
    (tmp_path / ".installed").touch()
    assert "pip install" not in told() and f"-c {LOCK.name}" in told("LOCKED=1")
    (tmp_path / ".locked").touch()
    assert "pip install" not in told("LOCKED=1")


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_make_report_takes_the_newest_scale_of_the_same_overrides(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "venv").mkdir()
    (tmp_path / "venv" / ".installed").touch()
    for age, place in enumerate(("paper-other", "default", "smoke-mine", "paper", "default-mine")):
        table = tmp_path / "results" / place / "claims.csv"
        table.parent.mkdir(parents=True)
        table.touch()
        os.utime(table, (10_000 - age, 10_000 - age))

    def asked(arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["make", "-s", "report", "VENV=venv", "SNAKEMAKE=echo", f"ARGS={arguments}"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert asked("").stdout.endswith(" --config scale=default\n")
    assert "--config scale=smoke overrides=of/mine.yaml" in asked("--config overrides=of/mine.yaml").stdout
    assert (
        "--config scale=paper overrides=mine.yaml" in asked("--config scale=paper overrides=mine.yaml").stdout
    )
    none = asked("--config overrides=no.yaml")
    assert none.returncode == 2 and "found no results/<scale>-no/claims.csv" in none.stderr


WITHOUT = """
import sys

class Refused:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {missing!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Refused())
"""


def without(missing: tuple[str, ...], code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Python code in a process that finds no library of the names ``missing``."""
    text = WITHOUT.format(missing=set(missing)) + code
    command = [sys.executable, "-c", text, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


COMMAND = "from dfp.cli import main\nsys.exit(main(sys.argv[1:]))"
#: what a fit does without: all that is optional, and the workflow with its dashboards
NEEDLESS = (*OPTIONAL, "snakemake", "wandb")
BRIEF = """
cells:
  recognition: {window: 4, hidden: 4}
  phases: [{steps: 2, objective: {kind: relaxed_pmf}}]
  evaluation: {samples: 8, iwae_samples: 4}
connections:
  recognition: {window: 4, hidden: 4, cross_channels: 1}
  training: {steps: 2}
  evaluation: {samples: 8, iwae_samples: 4}
"""


def test_a_fit_and_its_help_need_no_extra(tmp_path: Path) -> None:
    """A whole fit, with connections, and `dfp infer` after it, where nothing optional is installed."""
    trace = np.random.default_rng(0).normal(size=(200, 2)) + np.sin(np.arange(200) / 9)[:, None]
    np.save(tmp_path / "mine.npy", trace)
    (tmp_path / "brief.yaml").write_text(BRIEF, encoding="utf-8")
    given = ("--traces", tmp_path / "mine.npy", "--frame-rate", 30)
    code = f"""
from dfp.cli import main
try:
    main(["fit", "--help"])
except SystemExit as ended:
    assert ended.code == 0
given = {[str(one) for one in given]!r}
out = {str(tmp_path)!r}
assert main(["fit", *given, "--indicator", "GCaMP6f", "--out", out + "/fit", "--connections",
             "--wandb", "disabled", "--settings", out + "/brief.yaml"]) == 0
assert main(["infer", "--checkpoint", out + "/fit/checkpoint.pt", *given, "--out", out + "/again.csv"]) == 0
"""
    done = without(NEEDLESS, code)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "fit" / "connections.csv").is_file() and (tmp_path / "again.csv").is_file()


def test_no_stage_of_a_fit_or_run_waits_for_what_it_does_not_use() -> None:
    """Every job of a workflow is a process: scipy.signal and scipy.stats take a second or half a one."""
    code = """
import dfp.stages.fit, dfp.stages.infer, dfp.stages.simulate, dfp.stages.train, dfp.stages.evaluate
print(sorted(set(sys.argv[1:]) & set(sys.modules)))
"""
    slow = ("scipy.signal", "scipy.stats", "scipy.ndimage", "numba", "torch._dynamo")
    done = without((), code, *NEEDLESS, *slow)
    assert done.returncode == 0 and done.stdout == "[]\n", done.stderr


@pytest.mark.parametrize(
    ("missing", "package", "extra", "arguments"),
    [
        ("matplotlib", "matplotlib", "plot",
         "plot --experiment {root}/experiments/bias/config.yaml --results {tmp} --out {tmp} --figures gap"),
        ("seaborn", "seaborn", "plot", "claims --results {tmp} --out {tmp}/claims.csv"),
        ("sklearn", "scikit-learn", "paper",
         "study --experiment {root}/experiments/flow_vae/config.yaml --scale smoke --out {tmp}/table.csv"),
    ],
)  # fmt: skip
def test_a_missing_library_is_one_sentence_with_the_command_that_brings_it(
    tmp_path: Path, missing: str, package: str, extra: str, arguments: str
) -> None:
    filled = [word.format(root=ROOT, tmp=tmp_path) for word in arguments.split()]
    done = without((missing,), COMMAND, *filled)
    assert done.returncode == 2 and done.stdout == ""
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"dfp {filled[0]}: {package}: not installed") and "Traceback" not in done.stderr
    assert f"'pip install {package}'" in last and f"the extra '{extra}'" in last


def test_an_import_of_ones_own_that_fails_is_not_taken_for_a_missing_extra() -> None:
    code = "from dfp.core.extras import optional\nwith optional():\n    import not_there_at_all"
    done = without((), code)
    assert "ModuleNotFoundError: No module named 'not_there_at_all'" in done.stderr
