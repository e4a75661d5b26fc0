"""Jobs of the workflow: forked from a process that has loaded everything, they do what the commands do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest

from dfp import job

ROOT = Path(__file__).resolve().parent.parent
CONFIG = ROOT / "experiments" / "bias" / "config.yaml"

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="jobs are forked on Linux only")


@pytest.fixture(scope="module")
def warm() -> Iterator[dict[str, str]]:
    """The environment of jobs beside a warm process that ignores interrupts, as a script's `snakemake &`."""
    before = os.environ.pop(job.WARM, None)
    heard = signal.signal(signal.SIGINT, signal.SIG_IGN)
    made = job.start()
    signal.signal(signal.SIGINT, heard)
    assert made is not None and made.stdin is not None
    yield dict(os.environ) | dict.fromkeys(job.THREADS, "1")
    del os.environ[job.WARM]
    if before is not None:
        os.environ[job.WARM] = before
    made.stdin.close()
    assert made.wait(10) == 0  # it ends with what started it


SERVING = """
import sys
from dfp import job

job.LOADED = ()
{change}
sys.exit(job.main(["--serve", sys.argv[1]]))
"""


@contextmanager
def serving(folder: Path, change: str) -> Iterator[dict[str, str]]:
    """The environment of jobs beside a warm process that has loaded nothing, with a change to it."""
    address = folder / "warm" / "warm"
    address.parent.mkdir()
    command = [sys.executable, "-c", SERVING.format(change=change), str(address)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=folder) as made:
        assert made.stdin is not None and made.stdout is not None
        assert made.stdout.readline() == b"ready\n"
        yield dict(os.environ) | dict.fromkeys(job.THREADS, "1") | {job.WARM: str(address)}
        made.stdin.close()
        assert made.wait(10) == 0


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


def doing(folder: Path, code: str) -> str:
    """The configuration of a study whose file does this when it is loaded, by `check` too."""
    place = folder / "experiments" / "doing"
    place.mkdir(parents=True)
    (place / "config.yaml").write_text("question: What does it do?\nkind: study\nfigures: []\n")
    (place / "study.py").write_text(code)
    return str(place / "config.yaml")


@pytest.mark.parametrize(
    ("said", "status", "told"), [("", 0, ""), ("3", 3, ""), ("'no such cell'", 1, "no such cell\n")]
)
def test_a_forked_job_that_exits_ends_as_python_does(
    warm: dict[str, str], tmp_path: Path, said: str, status: int, told: str
) -> None:
    done = run(warm, "check", doing(tmp_path, f"import sys\nsys.exit({said})\n"))
    assert (done.returncode, done.stdout, done.stderr) == (status, "", told)


def test_a_library_that_cannot_be_loaded_or_prints_keeps_no_job_from_running(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("print('ready for what')\nraise RuntimeError('broken')\n")
    with serving(tmp_path, "job.LOADED = ('broken',)") as environment:
        done = run(environment, "check", str(CONFIG))
        assert done.returncode == 0 and len(done.stdout.splitlines()) == 1, done.stdout


def test_a_process_that_cannot_fork_leaves_jobs_to_themselves(tmp_path: Path) -> None:
    refusing = "import os\ndef refused():\n    raise BlockingIOError(11, 'try again')\nos.fork = refused"
    with serving(tmp_path, refusing) as environment:
        for _ in range(2):  # and lives on
            done = run(environment, "check", "missing.yaml")
            assert (done.returncode, done.stderr) == (2, "dfp check: missing.yaml: no such file\n")


def test_a_folder_too_deep_for_a_socket_is_told_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    deep = tmp_path / ("deep" * 30)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    before = os.environ.get(job.WARM)
    assert job.start() is None and os.environ.get(job.WARM) == before
    (line,) = capfd.readouterr().err.splitlines()
    assert f"{deep}" in line and "path too long" in line and "loads its libraries itself" in line
    assert not list(deep.iterdir())


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


def test_a_fork_that_hears_no_interrupt_is_killed_after_its_job(tmp_path: Path) -> None:
    """As one would in a long call of a library."""
    deaf = "import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nprint('deaf', flush=True)\n"
    log, asked = tmp_path / "log.txt", doing(tmp_path, deaf + "time.sleep(120)\n")
    with serving(tmp_path, "job.PATIENCE = 0.2") as environment:
        command = [sys.executable, "-m", "dfp.job", "check", asked]
        with log.open("w") as file:
            asking = subprocess.Popen(command, env=environment, stdout=file, stderr=file)
        assert eventually(lambda: log.read_text() == "deaf\n")
        assert len(beside(log)) == 2
        asking.kill()
        asking.wait(10)
        assert eventually(lambda: not beside(log))
