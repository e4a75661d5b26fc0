"""A stage as a job of the workflow: ``python -m dfp.job train …`` does what ``dfp train …`` does.

A smoke run is hundreds of such jobs, and what Python loads for one of them takes longer than most of them
run. So where jobs run on the machine that plans them, the Snakefile starts one process that has loaded it
all, and that forks for every job which asks. A job that finds no such process, on another machine or with
threads of its own, loads what it needs and runs by itself: the command is the same, and so are its results.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import resource
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

#: where a job finds the process that has loaded everything
WARM = "DFP_WARM"
#: seconds that a fork whose job is gone has to end by itself
PATIENCE = 30.0
#: what the warm process says where it cannot fork
ALONE = b"alone"
#: what sets a process's threads when its libraries are loaded, and cannot be changed for a fork
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
#: what stages load, now or later; the packages that come with extras may be missing
LOADED = (
    *(f"dfp.stages.{stage}" for stage in ("simulate", "train", "evaluate", "peers", "study")),
    *(f"dfp.stages.{stage}" for stage in ("aggregate", "collect", "plot", "claims")),
    *(f"dfp.samplers.kernels.{kernels}" for kernels in ("hard", "relaxed", "chunked")),
    *("scipy.signal", "scipy.stats", "sklearn.ensemble", "sklearn.linear_model", "sklearn.metrics"),
    *("sklearn.datasets", "matplotlib.pyplot", "matplotlib.backends.backend_pdf", "fontTools.subset"),
    *("fontTools.otlLib.builder", "seaborn", "wandb.sdk.launch", "dfp.tracking.tracker"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command in the warm process, or here where there is none; return its exit status.

    ``--usage FILE`` before the command writes what it took: seconds, CPU seconds, largest memory in MB.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["--serve"]:
        return _serve(Path(given[1]))
    address = os.environ.get(WARM)
    if address and all(os.environ.get(name, "1") == "1" for name in THREADS):
        status = _ask(address, given)
        if status is not None:
            return status
    return _run(given)


def start() -> subprocess.Popen[bytes] | None:
    """Start a warm process and point jobs to it; it ends with the process that started it.

    Returns it (it lives as long as its ``stdin`` stays open), or None where it cannot be had, which costs
    time only and is said in a sentence.
    """
    if not sys.platform.startswith("linux"):  # elsewhere a process with libraries loaded may not be forked
        return None
    folder = Path(tempfile.mkdtemp(prefix="dfp-"))
    address = folder / "warm"
    made = subprocess.Popen(
        [sys.executable, "-m", "dfp.job", "--serve", str(address)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | dict.fromkeys(THREADS, "1"),
        start_new_session=True,  # Ctrl-C is for the jobs, whose end it sees
    )
    assert made.stdout is not None
    said = made.stdout.readline().decode(errors="replace").strip()
    if said == "ready":
        os.environ[WARM] = str(address)
        return made
    made.kill()
    made.communicate()
    shutil.rmtree(folder, ignore_errors=True)
    print(
        f"dfp: no process that jobs fork from ({said or 'it ended'}): each loads its libraries itself",
        file=sys.stderr,
    )
    return None


def _run(given: list[str]) -> int:
    """Run a command in this process, and write what it took if that was asked for."""
    from dfp.cli import main as command

    usage = None
    if given[:1] == ["--usage"]:
        usage, given = Path(given[1]), given[2:]
    started = time.monotonic()
    try:
        return command(given)
    finally:
        if usage is not None:
            own, below = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
            cpu = own.ru_utime + own.ru_stime + below.ru_utime + below.ru_stime
            usage.parent.mkdir(parents=True, exist_ok=True)
            usage.write_text(
                "s\tcpu_time\tmax_rss\n"
                f"{time.monotonic() - started:.2f}\t{cpu:.2f}\t{own.ru_maxrss / 1024:.0f}\n",
                encoding="utf-8",
            )


def _ask(address: str, given: list[str]) -> int | None:
    """Have a fork of the warm process run a command with this one's files, folder and environment.

    Returns:
        Its exit status, or None where nobody answers or can fork.
    """
    with socket.socket(socket.AF_UNIX) as line:
        try:
            line.connect(address)
            request = {"arguments": given, "folder": str(Path.cwd()), "environment": dict(os.environ)}
            socket.send_fds(line, [b"."], [0, 1, 2])
            line.sendall(json.dumps(request).encode() + b"\n")
        except OSError:
            return None
        before = signal.signal(signal.SIGINT, signal.SIG_DFL)  # the fork sees our end, and tells of it
        answer = b""
        with suppress(OSError):
            while part := line.recv(16):  # to the end of the fork
                answer += part
    if answer == ALONE:
        signal.signal(signal.SIGINT, before)
        return None
    if not answer:
        print("dfp: the process that ran this job was killed", file=sys.stderr)
    return int(answer or 1)


def _serve(address: Path) -> int:
    """Load everything, then fork for each job that asks, until the process that started this one is gone."""
    answers = os.dup(1)  # to the process that started this one
    os.dup2(2, 1)  # what a library prints when it is loaded is no answer
    listening = socket.socket(socket.AF_UNIX)
    try:
        listening.bind(str(address))
        listening.listen(128)
    except OSError as error:
        os.write(answers, f"{address}: {error.strerror or error}\n".encode())
        return 1
    for name in LOADED:
        with suppress(Exception):  # the job that needs it tells of it
            importlib.import_module(name)
    with suppress(Exception):  # what numba loads when the first compiled function is called
        registry = importlib.import_module("numba.core.registry")
        registry.cpu_target.target_context.refresh()
    sys.stdout.flush()
    gc.collect()
    gc.freeze()  # what is loaded stays shared with the forks
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # forks answer their jobs themselves
    os.write(answers, b"ready\n")
    os.close(answers)
    while True:
        ready, _, _ = select.select([listening, sys.stdin], [], [])
        if sys.stdin in ready:
            break
        line, _ = listening.accept()
        try:
            fork = os.fork()
        except OSError:  # no memory or no process left for now
            with suppress(OSError):
                line.sendall(ALONE)
        else:
            if fork == 0:
                listening.close()
                return _answer(line)
        line.close()
    listening.close()
    shutil.rmtree(address.parent, ignore_errors=True)
    return 0


def _answer(line: socket.socket) -> int:
    """In the fork: become the job at the other end of ``line``, run it, and send its exit status."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # a script's `snakemake &` hands down that interrupts are ignored, which is how _watch ends this process
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _, files, _, _ = socket.recv_fds(line, 1, 3)
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    request = json.loads(line.makefile("rb").readline())
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    tempfile.tempdir = None
    sys.argv[1:] = request["arguments"]
    done = threading.Event()
    threading.Thread(target=_watch, args=(line, done), daemon=True).start()
    status = 1
    try:
        status = _run(request["arguments"])
    except SystemExit as stop:  # as Python itself ends on it
        if stop.code is None or isinstance(stop.code, int):
            status = stop.code or 0
        else:
            print(stop.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    done.set()
    with suppress(OSError):
        line.sendall(str(status).encode())
    return status


def _watch(line: socket.socket, done: threading.Event) -> None:
    """Interrupt this process once the job that it runs for is gone, and kill it if it does not notice."""
    with suppress(OSError):
        line.recv(1)
    if not done.is_set():
        os.kill(os.getpid(), signal.SIGINT)
        if not done.wait(PATIENCE):
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
