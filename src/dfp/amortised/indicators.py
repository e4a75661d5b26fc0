"""The indicators that the posterior knows by name."""

from __future__ import annotations

#: in the order of the network's inputs; the first stands for one that is not known
NAMES = (
    "unknown",
    "OGB-1",
    "GCaMP6f",
    "GCaMP6s",
    "GCaMP7f",
    "GCaMP8f",
    "GCaMP8m",
    "GCaMP8s",
    "R-CaMP",
    "jRGECO1a",
)


def known() -> tuple[str, ...]:
    """Names that ``Told`` takes."""
    return NAMES[1:]


def place(name: str | None) -> int:
    """Where an indicator stands among the network's inputs; 0 where it is not known."""
    return 0 if name is None else NAMES.index(name)
