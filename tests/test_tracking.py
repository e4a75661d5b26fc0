"""W&B mirrors and never matters: disabled, missing, broken in every way,
and a real run read back with W&B's own reader.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dfp.tracking import tracker as module
from dfp.tracking.tracker import Tracker, WandbTracker, mirror_figures, open_tracker


def use(tracker: Tracker, picture: Path) -> None:
    """What a training does with its tracker."""
    for step in range(20):
        tracker.log({"loss": 1.0 / (step + 1)}, step=step)
    tracker.summary({"final_loss": 0.05})
    tracker.figure("gap", picture)
    tracker.close()
    tracker.close()


class Broken:
    """Raises in the calls named, and counts the others."""

    def __init__(self, *broken: str) -> None:
        self.broken, self.calls = broken, []  # type: ignore[var-annotated]
        self.summary = types.SimpleNamespace(update=lambda values: self._call("summary", values))

    def _call(self, name: str, *told: Any) -> None:
        self.calls.append((name, *told))
        if name in self.broken:
            raise OSError(28, "No space left on device")

    def log(self, values: dict[str, Any], step: int | None = None) -> None:
        self._call("log", values, step)

    def finish(self) -> None:
        self._call("finish")


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    from matplotlib.figure import Figure

    path = tmp_path / "gap.png"
    Figure(figsize=(1, 1)).savefig(path)
    return path


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[types.SimpleNamespace]:
    """A module ``wandb`` whose ``init`` is set by the test."""
    found = types.SimpleNamespace(
        Settings=lambda **settings: settings, Image=lambda path: ("image", path), Table=dict, init=None
    )
    monkeypatch.setitem(sys.modules, "wandb", found)  # type: ignore[arg-type]
    yield found


def test_disabled_touches_nothing(
    fake: types.SimpleNamespace, picture: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.init = lambda **options: pytest.fail("W&B was asked for a run")
    tracker = open_tracker("disabled", group="g", name="n")
    assert type(tracker) is Tracker
    use(tracker, picture)
    assert capsys.readouterr() == ("", "")


def test_missing_is_told_once(
    monkeypatch: pytest.MonkeyPatch, picture: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)  # the import raises
    use(open_tracker("offline", group="g", name="n"), picture)
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1
    assert "W&B" in told[0] and "results are in the run's own files" in told[0]


def test_an_installation_that_breaks_on_import(tmp_path: Path) -> None:
    """In a process of its own, as a training meets it: exit status 0 and no traceback."""
    (tmp_path / "wandb.py").write_text("raise RuntimeError('protobuf is too old')\n")
    text = (
        "from dfp.tracking.tracker import open_tracker as o\n"
        "t = o('offline', group='g', name='n'); t.log({'a': 1}, 0); t.close()"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{text}"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0
    assert done.stderr.count("\n") == 1 and "protobuf is too old" in done.stderr


@pytest.mark.parametrize("call", ["log", "summary", "finish"])
def test_a_call_that_raises_ends_the_mirror_only(
    fake: types.SimpleNamespace, picture: Path, capsys: pytest.CaptureFixture[str], call: str
) -> None:
    run = Broken(call)
    fake.init = lambda **options: run
    use(open_tracker("offline", group="g", name="n"), picture)
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1 and "No space left on device" in told[0]
    assert [name for name, *_ in run.calls].count(call) == 1  # not asked again
    assert run.calls[-1][0] == call


def test_an_init_that_raises(
    fake: types.SimpleNamespace, picture: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def init(**options: Any) -> None:
        raise PermissionError("wandb/ cannot be written")

    fake.init = init
    use(open_tracker("offline", group="g", name="n"), picture)
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_interrupts_are_not_swallowed() -> None:
    run = types.SimpleNamespace(log=lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        WandbTracker(run, str, every=0.0).log({"a": 1}, 0)


def test_online_without_a_network_is_kept_offline(
    fake: types.SimpleNamespace, picture: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked, run = [], Broken()

    def init(mode: str, **options: Any) -> Broken:
        asked.append((mode, options["settings"]["init_timeout"]))
        if mode == "online":
            raise TimeoutError("no answer")
        return run

    fake.init = init
    use(open_tracker("online", group="g", name="n"), picture)
    assert [mode for mode, _ in asked] == ["online", "offline"]
    assert all(seconds <= 30 for _, seconds in asked)
    assert run.calls[-1] == ("finish",)
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_what_is_sent_is_limited_and_the_last_is_never_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = types.SimpleNamespace(now=0.0)
    monkeypatch.setattr(module.time, "monotonic", lambda: clock.now)
    run = Broken()
    tracker = WandbTracker(run, str, every=1.0)
    for step in range(101):
        tracker.log({"loss": float(step)}, step=step)
        clock.now += 0.25
    tracker.close()
    sent = [step for name, *told in run.calls if name == "log" for step in told[1:]]
    assert sent == [*range(0, 101, 4)]
    tracker = WandbTracker(run := Broken(), str, every=1.0)
    for step in range(3):
        tracker.log({"loss": float(step)}, step=step)
    tracker.summary({"final": 2.0})
    tracker.close()
    assert [name for name, *_ in run.calls] == ["log", "log", "summary", "finish"]
    assert run.calls[1] == ("log", {"loss": 2.0}, 2)


def test_figures_are_a_run_of_their_own(fake: types.SimpleNamespace, tmp_path: Path) -> None:
    run, asked = Broken(), []
    fake.init = lambda **options: asked.append(options) or run
    folder = tmp_path / "figures" / "smoke" / "bias"
    mirror_figures("bias", folder, ["gap", "count"], "offline")
    assert asked[0]["group"] == "bias-smoke"
    assert run.calls[:2] == [
        ("log", {name: ("image", str(folder / f"{name}.png"))}, None) for name in ("gap", "count")
    ]


def records(folder: Path) -> list[dict[str, Any]]:
    """The records of an offline run, by W&B's own reader."""
    command = shutil.which("wandb", path=str(Path(sys.executable).parent))
    assert command is not None
    done = subprocess.run(
        [command, "leet", "inspect", "--json", str(folder)], capture_output=True, text=True, check=True
    )
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def test_a_real_offline_run_is_read_back(tmp_path: Path, picture: Path) -> None:
    pytest.importorskip("wandb")
    text = f"""
from pathlib import Path
from dfp.tracking import tracker
tracker.LOG_EVERY = 0.0
tags = ["factorised", "seed0", "x" * 90]
t = tracker.open_tracker(
    "offline", group="bias-smoke", name="bias/factorised/panel", tags=tags, config={{"steps": 5}}
)
for step in range(5):
    t.log({{"loss": 5.0 - step, "sweeps": 3}}, step=step)
t.summary({{"final_loss": 1.25}})
t.figure("gap", Path({str(picture)!r}))
t.close()
"""
    clean = {
        "WANDB_DIR": str(tmp_path),
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path),
        "PYTHONPATH": str(module.__file__).split("/dfp/")[0],
    }
    done = subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, env=clean, cwd=tmp_path
    )
    assert done.returncode == 0 and "W&B failed" not in done.stderr, done.stderr
    folder = next((tmp_path / "wandb").glob("offline-run-*"))
    found = records(folder)
    run = next(record["run"] for record in found if record["type"] == "run")
    assert (run["run_group"], run["display_name"]) == ("bias-smoke", "bias/factorised/panel")
    assert run["config"]["update"]["steps"] == 5
    assert "factorised" in run["tags"]
    text_of_all = json.dumps(found)
    assert "final_loss" in text_of_all and "1.25" in text_of_all
    history = [record["history"] for record in found if record["type"] == "history"]
    assert len(history) >= 5
    assert [entry for entry in folder.rglob("gap*.png")]
    assert any(record["type"] == "exit" for record in found)  # the run was ended, not cut off


def test_an_evaluation_adds_to_the_run_of_its_training(tmp_path: Path, picture: Path) -> None:
    """The same run in W&B, its summary with the held-out bound and gap, the figures' run with its table."""
    pytest.importorskip("wandb")
    text = f"""
from pathlib import Path
from dfp.tracking.tracker import mirror_figures, mirror_metrics, open_tracker
t = open_tracker("offline", group="bias-smoke", name="bias/factorised/panel", run_id="abc123")
t.log({{"loss": 1.0}}, step=0)
t.close()
facts = dict(experiment="bias", scale="smoke", run="factorised", dataset="panel", wandb="abc123")
mirror_metrics(facts, {{"elbo_per_bin": -1.25, "gap_per_bin": 0.0625}}, "offline")
mirror_metrics(dict(facts, wandb=None), {{"elbo_per_bin": -3.5}}, "offline")
table = (["run"], [["factorised"]])
mirror_figures("bias", Path({str(picture.parent)!r}), ["gap"], "offline", {{"a/b": 1.0}}, table)
"""
    clean = {
        "WANDB_DIR": str(tmp_path),
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path),
        "PYTHONPATH": str(module.__file__).split("/dfp/")[0],
    }
    done = subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, env=clean, cwd=tmp_path
    )
    assert done.returncode == 0 and "W&B failed" not in done.stderr, done.stderr
    runs = [records(folder) for folder in sorted((tmp_path / "wandb").glob("offline-run-*"))]
    facts = {id(found): next(one["run"] for one in found if one["type"] == "run") for found in runs}
    same = [found for found in runs if facts[id(found)]["run_id"] == "abc123"]
    assert len(runs) == 3 and len(same) == 2
    assert {facts[id(found)]["display_name"] for found in same} == {"bias/factorised/panel"}
    summaries = json.dumps([one["summary"] for found in same for one in found if one["type"] == "summary"])
    assert (
        "heldout/elbo_per_bin" in summaries and "heldout/gap_per_bin" in summaries and "0.0625" in summaries
    )
    assert all(any(one["type"] in ("history", "summary") for one in found) for found in runs)  # none is empty
    assert list((tmp_path / "wandb").rglob("table*.table.json"))


def test_online_against_a_server_that_never_answers(tmp_path: Path) -> None:
    """The start gives up in seconds, the run goes on offline, and the process ends by itself."""
    pytest.importorskip("wandb")
    text = """
from dfp.tracking import tracker
tracker.INIT_TIMEOUT = 3
t = tracker.open_tracker("online", group="g", name="n")
t.log({"loss": 1.0}, step=0)
t.close()
print("trained on")
"""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(20)
        clean = {
            "WANDB_DIR": str(tmp_path),
            "WANDB_BASE_URL": f"http://127.0.0.1:{silent.getsockname()[1]}",
            "WANDB_API_KEY": "0123456789" * 4,
            "PATH": "/usr/bin:/bin",
            "HOME": str(tmp_path),
            "PYTHONPATH": str(module.__file__).split("/dfp/")[0],
        }
        done = subprocess.run(
            [sys.executable, "-c", text], capture_output=True, text=True, env=clean, cwd=tmp_path, timeout=90
        )
    assert done.returncode == 0 and "trained on" in done.stdout
    assert "kept offline" in done.stderr
    assert list((tmp_path / "wandb").glob("offline-run-*/*.wandb"))
