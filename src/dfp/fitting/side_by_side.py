"""The same work on many cells, in as many processes as asked for; the same comes out for any number."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import wait as wait_for
from typing import Any, TypeVar

import torch

from dfp.core.errors import UserError

T = TypeVar("T")

#: more processes than these do not start by themselves: each holds a network's activations
MOST = 4
#: tasks that wait for each process; results that are not yet taken are held in memory
AHEAD = 2
#: what a process of the pool works on; one pool, one work
_work: list[Callable[[int], Any]] = []


def usable_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def check_jobs(jobs: int | None) -> None:
    """Raise ``UserError`` for fewer processes than one."""
    if jobs is not None and jobs < 1:
        raise UserError(f"jobs: found {jobs}, expected at least 1")


def over_cells(work: Callable[[int], T], cells: Sequence[int], jobs: int | None = None) -> Iterator[T]:
    """``work(n)`` for all cells, in the order in which they are done.

    torch has one thread in every process: sums on several threads may differ in the last bit.

    Args:
        jobs: processes; by default the usable cores, at most four. With one, or one cell, none is started.

    Raises:
        UserError: for fewer than one, or when a process ended by itself.
    """
    check_jobs(jobs)
    number = min(jobs or min(usable_cores(), MOST), len(cells))
    return _shared(work, cells, number) if number > 1 else _alone(work, cells)


def _alone(work: Callable[[int], T], cells: Sequence[int]) -> Iterator[T]:
    for n in cells:
        with one_thread():  # not around the yield: whoever takes the results has its threads back
            done = work(n)
        yield done


def _shared(work: Callable[[int], T], cells: Sequence[int], jobs: int) -> Iterator[T]:
    # forked processes share the traces and the weights; elsewhere than on Linux libraries do not bear it
    context = multiprocessing.get_context("fork" if sys.platform.startswith("linux") else "spawn")
    pool = ProcessPoolExecutor(jobs, context, _begin, (work,))
    left = iter(cells)
    running: set[Future[Any]] = set()
    try:
        while True:
            for n in left:
                running.add(pool.submit(_one, n))
                if len(running) >= AHEAD * jobs:
                    break
            if not running:
                return
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
    except BrokenProcessPool:
        raise UserError(
            f"jobs: one of {jobs} processes ended by itself, often for want of memory, expected it to last; "
            "the same command with --jobs 1 goes on from there"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread for torch within the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _begin(work: Callable[[int], Any]) -> None:
    """In a process of the pool: what it works on; it ends with the process that started it."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the starting process hears it, and says so once
    _work[:] = [work]
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait_for([parent.sentinel])
        os._exit(1)


def _one(cell: int) -> Any:
    return _work[0](cell)
