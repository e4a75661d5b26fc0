"""A user's file of traces, and what the user says of it: where every command on recordings begins."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dfp.core.errors import UserError
from dfp.data.doubts.admit import Care, admit
from dfp.data.doubts.base import Expected
from dfp.data.doubts.mend import Trials
from dfp.data.readers.registry import read_traces
from dfp.data.traces import Orientation, Traces


@dataclass(frozen=True)
class Source:
    """A file of traces, and what the user adds to it; see ``read_traces``.

    Attributes:
        cells: names of those to take; all where none are named.
        care: what the user says about doubts.
        expected: of the response to one spike, in the traces' unit.
    """

    path: Path
    frame_rate: float | None = None
    orientation: Orientation | None = None
    key: str | None = None
    allow_nan: bool = False
    cells: Sequence[str] = ()
    care: Care = field(default_factory=Care)
    expected: Expected = field(default_factory=Expected)

    def raw(self, allow_nan: bool | None = None) -> Traces:
        """The traces as the file has them."""
        return read_traces(
            self.path,
            key=self.key,
            orientation=self.orientation,
            frame_rate=self.frame_rate,
            cells=self.cells,
            allow_nan=self.allow_nan if allow_nan is None else allow_nan,
        )

    def read(self, keep: bool = False) -> Traces:
        """The traces that a run may take; what is doubtful is said on stderr.

        Args:
            keep: leave no cell out.

        Raises:
            UserError: for a file that cannot be read, or a doubt that is not confirmed.
        """
        return admit(
            self.raw(),
            self.expected,
            self.care,
            source=self.path,
            say=lambda sentence: print(f"{self.path}: {sentence}", file=sys.stderr),
            keep=keep,
        )


def named_frames(text: str | None) -> Trials | None:
    """``--trials``: frames, or the word ``found``.

    Raises:
        UserError: for anything else.
    """
    if text is None or text.strip() == "found":
        return None if text is None else "found"
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise UserError(
            f"--trials: found '{text}', expected the first frames of the trials (0,1200,2400) or 'found'"
        ) from None


def words(text: str | None) -> tuple[str, ...]:
    """The names of a list with commas."""
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())
