"""Work shared out to processes: the same for any number, and what happens to one that ends."""

from __future__ import annotations

import os

import pytest
import torch

from dfp.core.errors import UserError
from dfp.fitting.side_by_side import over_cells


def squared(n: int) -> tuple[int, int, int, int]:
    return n, n * n, torch.get_num_threads(), os.getpid()


@pytest.mark.parametrize("jobs", [1, 2, 3])
def test_every_cell_is_done_once_on_one_thread(jobs: int) -> None:
    torch.set_num_threads(2)
    try:
        done = list(over_cells(squared, range(20), jobs))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    assert sorted((n, square) for n, square, *_ in done) == [(n, n * n) for n in range(20)]
    assert {threads for *_, threads, _ in done} == {1}
    processes = {process for *_, process in done}
    assert (processes == {os.getpid()}) == (jobs == 1) and len(processes) <= jobs


def test_nothing_to_do_and_fewer_than_one() -> None:
    assert list(over_cells(squared, [], 4)) == []
    with pytest.raises(UserError, match="jobs: found 0, expected at least 1"):
        over_cells(squared, [1], 0)


def refuse(n: int) -> int:
    if n == 5:
        raise UserError("cell5: found nothing, expected something")
    return n


def end(n: int) -> int:
    if n == 5:
        os._exit(9)
    return n


def test_a_sentence_comes_through_and_a_process_that_ends_is_told() -> None:
    for jobs in (1, 2):
        with pytest.raises(UserError, match="cell5: found nothing"):
            list(over_cells(refuse, range(10), jobs))
    with pytest.raises(UserError, match=r"one of 2 processes ended by itself.*--jobs 1"):
        list(over_cells(end, range(10), 2))
