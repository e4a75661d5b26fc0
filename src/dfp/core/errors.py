"""The errors that a user can cause, and one that training can."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A user's mistake, said in one sentence: the file or key, what was found, what was expected.

    The command line prints the sentence and exits with 2; a traceback is never shown for it.

    Example:
        >>> dfp.Concrete(0.0)
        Traceback (most recent call last):
            ...
        dfp.core.errors.UserError: temperature: found 0.0, expected a number above 0
    """


class NumericalError(RuntimeError):
    """Training met a number that is not finite, or a sampler hit its cap where that is an error."""


def suggest(name: str, known: Iterable[str]) -> str:
    """``" (did you mean 'x'?)"`` when ``name`` looks like one of ``known``, else an empty string."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" (did you mean '{close[0]}'?)" if close else ""
