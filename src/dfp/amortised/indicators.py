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

#: other names of the same
ALIASES = {"jGECO1a": "jRGECO1a", "RCaMP1.07": "R-CaMP"}


def known() -> tuple[str, ...]:
    """Names that ``Told`` takes."""
    return NAMES[1:]


def named(name: str) -> str | None:
    """The indicator that a name means, in any spelling (``OGB1``, ``jGCaMP8f``); None for no known one."""
    plain = {_plain(one): one for one in (*known(), *ALIASES)}
    found = plain.get(_plain(name))
    return None if found is None else ALIASES.get(found, found)


def _plain(name: str) -> str:
    bare = name.lower().replace("-", "").replace("_", "").replace(" ", "")
    return bare.removeprefix("j") if bare.startswith("jgcamp") else bare


def place(name: str | None) -> int:
    """Where an indicator stands among the network's inputs; 0 where it is not known."""
    return 0 if name is None else NAMES.index(name)
