"""Stage: spikes of a recording by a posterior trained for all cells, from a file to a folder."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dfp.core.errors import UserError
from dfp.data.traces import Traces, times_of
from dfp.fitting.cell import Asked, identity
from dfp.fitting.folder import CELLS, SAMPLES, Record, check_ours, finished, totals_interval, write_folder
from dfp.fitting.side_by_side import check_jobs
from dfp.results.formats.base import SpikeArrays, Writer
from dfp.results.formats.registry import chosen
from dfp.stages.pieces import Pieces
from dfp.stages.source import Source

#: doubts that the terminal names; the others are counted
NAMED = 5


@dataclass(frozen=True)
class Output:
    """Where the result goes, and how.

    Attributes:
        out: a folder, or a file whose name says its format.
        format: of the arrays in a folder; by default ``npz``.
        keep_samples: write the posterior's samples too.
        jobs: processes; by default the usable cores, at most four.
    """

    out: Path
    format: str | None = None
    keep_samples: bool = False
    jobs: int | None = None


def infer_cells(source: Source, asked: Asked, output: Output) -> list[str]:
    """Infer the spikes of every cell of a file and write them: what ``dfp.infer`` gives, bit by bit.

    Every cell is written down when it is done, in a hidden folder beside the result: memory holds a cell a
    process, and what was cut off goes on from there. The result is put in its place when it is whole.

    Returns:
        What the terminal says at the end.

    Raises:
        UserError: for traces that cannot be read or made sense of, a format that contradicts the name of the
            result, or a folder that holds something else.
        NumericalError: for numbers that are not finite.
    """
    out = output.out
    writer, single = chosen(output.format, out)
    writer.ready()
    check_jobs(output.jobs)
    if single and output.keep_samples:
        raise UserError(f"{out}: found a file to write with --keep-samples, expected a folder")
    if not single:
        check_ours(out)
    traces = source.read()
    made, names = identity(asked, traces), traces.names
    if not single and (held := finished(out, made, writer, output.keep_samples)):
        print(f"{out}: inferred already with these options and traces", file=sys.stderr)
        spikes, doubts = held["spikes"], held["doubts"]
    else:
        pieces = Pieces.opened(out, made, len(names), output.keep_samples)
        pieces.fill(asked, traces, output.jobs)
        arrays = SpikeArrays(names, times_of(traces), traces.frame_rate, pieces.cell)
        cells, doubts, totals = pieces.summed()
        spikes = totals_interval(totals)
        if single:
            writer.write(arrays, out)
        else:
            record = Record.of(asked, traces, spikes, doubts)
            write_folder(
                out, writer, arrays, cells, record, arrays if output.keep_samples else None, pieces.folder
            )
        pieces.take_away()
    seen = f"{_many(len(names), 'cell')}, {_many(len(traces.x), 'frame')} at {traces.frame_rate:g} Hz"
    mean, low, high = spikes
    return [
        f"{seen}: {mean:.5g} spikes expected, {low:.5g} to {high:.5g} with 90%",
        *_doubtful(doubts, None if single else out / CELLS),
        f"written: {_written(output, writer, single)}",
        f"next: {_next(source, traces, asked, output, single)}",
    ]


def _doubtful(doubts: Sequence[str], table: Path | None) -> list[str]:
    if not doubts:
        return ["doubts: none"]
    more = len(doubts) - NAMED
    where = f" (column doubts of {table})" if table else ""
    return ["doubts:", *(f"  {one}" for one in doubts[:NAMED]), *[f"  and {more} more{where}"] * (more > 0)]


def _written(output: Output, writer: Writer, single: bool) -> str:
    if single:
        return str(output.out)
    names = [*writer.files, CELLS, *[SAMPLES] * output.keep_samples]
    return ", ".join(str(output.out / name) for name in names)


def _next(source: Source, traces: Traces, asked: Asked, output: Output, single: bool) -> str:
    """A command that goes on from here: connections where there are cells to connect, else the samples."""
    words = ["--traces", str(source.path)]
    if traces.rate_from == "given":
        words += ["--frame-rate", f"{traces.frame_rate:g}"]
    for flag, value in (
        ("--orientation", source.orientation),
        ("--key", source.key),
        ("--cells", ",".join(source.cells)),
    ):
        words += [flag, value] if value else []
    words += ["--allow-nan"] * source.allow_nan
    stem = output.out.with_suffix("") if single else output.out
    if not stem.name:  # "."
        stem = stem.absolute()
    if len(traces.names) > 1:
        words = ["fit", *words, "--connections", "--indicator", asked.told.indicator or "NAME"]
        out = stem.with_name(f"{stem.name}-connections")
    else:
        words = ["infer", *words, "--keep-samples"]
        out = stem.with_name(f"{stem.name}-samples")
    return shlex.join(["dfp", *words, "--out", str(out)])


def _many(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"
