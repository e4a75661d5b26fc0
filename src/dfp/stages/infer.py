"""Stage: spikes from a user's own traces, from their file to a table."""

from __future__ import annotations

import sys
from pathlib import Path

from dfp.core.errors import UserError
from dfp.data.readers.registry import read_traces
from dfp.data.traces import Orientation
from dfp.fitting.fitted import choose_device, load
from dfp.fitting.infer import infer_traces
from dfp.results.formats.registry import written_as_file
from dfp.results.tables import write_table


def infer(
    checkpoint: Path,
    traces: Path,
    out: Path,
    frame_rate: float | None = None,
    orientation: Orientation | None = None,
    key: str | None = None,
    allow_nan: bool = False,
    device: str = "auto",
) -> None:
    """Write P(spike) per frame and cell for a file of traces, by a trained posterior.

    The traces are prepared as those of the training were (slow baseline, latent bins a frame). The table
    ``out`` (``.csv``) is that of ``dfp.infer``. Traces far from those of the training get a
    warning on stderr.

    Raises:
        UserError: for a file that cannot be read, traces that are not as expected, or a checkpoint for other
            cells or another rate.
    """
    if out.suffix.lower() != ".csv" and written_as_file(out) is not None:
        raise UserError(
            f"{out}: found the name of another format beside --checkpoint, expected one that ends in .csv"
        )
    fitted = load(checkpoint, choose_device(device))
    loaded = read_traces(traces, key=key, orientation=orientation, frame_rate=frame_rate, allow_nan=allow_nan)
    spikes = infer_traces(
        fitted,
        loaded,
        checkpoint=checkpoint,
        source=traces,
        warn=lambda sentence: print(f"{traces}: {sentence}", file=sys.stderr),
    )
    write_table(spikes, out)
