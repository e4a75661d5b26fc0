"""Stage: spikes from a user's own traces, from their file to a table."""

from __future__ import annotations

import sys
from pathlib import Path

from dfp.core.errors import UserError
from dfp.fitting.fitted import choose_device, load
from dfp.fitting.infer import infer_traces
from dfp.results.formats.registry import written_as_file
from dfp.results.tables import write_table
from dfp.stages.source import Source


def infer(
    checkpoint: Path,
    source: Source,
    out: Path,
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
    spikes = infer_traces(
        fitted,
        source.read(keep=True),
        checkpoint=checkpoint,
        source=source.path,
        warn=lambda sentence: print(f"{source.path}: {sentence}", file=sys.stderr),
    )
    write_table(spikes, out)
