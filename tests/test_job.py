"""Jobs of the workflow: forked from a process that has loaded everything, they do what the commands do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest

from dfp import job

ROOT = Path(__file__).resolve().parent.parent
CONFIG = ROOT / "experiments" / "bias" / "config.yaml"

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="jobs are forked on Linux only")


@pytest.fixture(scope="module")
def warm() -> Iterator[dict[str, str]]:
    """The environment of jobs beside a warm process."""
    before = os.environ.pop(job.WARM, None)
    made = job.start()
    assert made is not None and made.stdin is not None
    yield dict(os.environ) | dict.fromkeys(job.THREADS, "1")
    del os.environ[job.WARM]
    if before is not None:
        os.environ[job.WARM] = before
    made.stdin.close()
    assert made.wait(10) == 0  # it ends with what started it


def run(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dfp.job", *arguments]
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)


def eventually(true: Callable[[], bool], seconds: float = 30.0) -> bool:
    until = time.monotonic() + seconds
    while not true() and time.monotonic() < until:
        time.sleep(0.05)
    return true()


def beside(folder: Path) -> set[int]:
    """Processes that have a file of ``folder`` open."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            files = [os.readlink(file) for file in (process / "fd").iterdir()]
        except OSError:
            continue
        if any(file.startswith(str(folder)) for file in files):
            found.add(int(process.name))
    return found


def simulated(environment: dict[str, str], folder: Path) -> Path:
    out = folder / "panel.npz"
    given = ("--experiment", str(CONFIG), "--scale", "smoke", "--dataset", "panel", "--out", str(out))
    done = run(environment, "--usage", str(folder / "usage.tsv"), "simulate", *given)
    assert done.returncode == 0, done.stderr
    return out


def test_a_forked_job_writes_what_the_command_writes(warm: dict[str, str], tmp_path: Path) -> None:
    alone = {name: value for name, value in warm.items() if name != job.WARM}
    for name in ("forked", "alone"):
        (tmp_path / name).mkdir()
    assert (
        simulated(warm, tmp_path / "forked").read_bytes() == simulated(alone, tmp_path / "alone").read_bytes()
    )
    forked, own = (pd.read_csv(tmp_path / name / "usage.tsv", sep="\t") for name in ("forked", "alone"))
    # to load what simulates takes more than a second, and a fork has it
    assert 0 < forked["cpu_time"].item() < 0.5 * own["cpu_time"].item()
    assert 50 < forked["max_rss"].item() < 2000 and forked["s"].item() > 0


def test_a_forked_job_speaks_and_fails_as_the_command_does(warm: dict[str, str]) -> None:
    done = run(warm, "check", str(CONFIG), "--scale", "smoke")
    assert done.returncode == 0 and "bias/config.yaml (smoke): 1 data sets" in done.stdout
    wrong = run(warm, "check", "missing.yaml")
    assert (wrong.returncode, wrong.stderr) == (2, "dfp check: missing.yaml: no such file\n")
    unknown = run(warm, "trian")
    assert unknown.returncode == 2 and "invalid choice: 'trian'" in unknown.stderr


def test_threads_of_its_own_or_nobody_there_leave_a_job_to_itself(warm: dict[str, str]) -> None:
    gone = warm | {job.WARM: "/nowhere/warm"}
    for environment in (warm | {"OMP_NUM_THREADS": "2"}, gone):
        done = run(environment, "check", "missing.yaml")
        assert (done.returncode, done.stderr) == (2, "dfp check: missing.yaml: no such file\n")


def endless(environment: dict[str, str], folder: Path) -> subprocess.Popen[bytes]:
    """A training of an hour, begun; it says what it says into ``log.txt``."""
    (folder / "long.yaml").write_text("bias: {steps_scale: 100000}\n")
    command = [sys.executable, "-m", "dfp.job", "train", "--experiment", str(CONFIG), "--scale", "smoke"]
    command += [
        "--overrides",
        str(folder / "long.yaml"),
        "--run",
        "factorised_05_known",
        "--dataset",
        "panel",
    ]
    command += ["--data", str(simulated(environment, folder)), "--wandb", "disabled"]
    command += ["--out", str(folder / "run" / "checkpoint.pt")]
    with (folder / "log.txt").open("w") as file:
        begun = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=file, stderr=file)
    assert eventually((folder / "run" / "config.json").exists)
    return begun


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_killed_job_takes_its_fork_along(
    warm: dict[str, str], tmp_path: Path, sent: signal.Signals
) -> None:
    asking, log = endless(warm, tmp_path), tmp_path / "log.txt"
    assert len(beside(log)) == 2  # the one that asks, and the fork
    asking.send_signal(sent)
    assert asking.wait(10) == -sent
    assert eventually(lambda: not beside(log))
    assert "interrupted; run the same command again to resume" in log.read_text()


def test_a_fork_that_dies_fails_its_job(warm: dict[str, str], tmp_path: Path) -> None:
    asking, log = endless(warm, tmp_path), tmp_path / "log.txt"
    (fork,) = beside(log) - {asking.pid}
    os.kill(fork, signal.SIGKILL)
    assert asking.wait(10) == 1
    assert "the process that ran this job was killed" in log.read_text()
