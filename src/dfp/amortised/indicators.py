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

#: indicators that nothing was learned from by name: a cell of theirs is one whose indicator is not told
OTHERS = (
    *(
        "GCaMP3",
        "GCaMP5G",
        "GCaMP5K",
        "GCaMP6m",
        "GCaMP7b",
        "GCaMP7c",
        "GCaMP7s",
        "XCaMP-Gf",
        "XCaMP-G",
        "XCaMP-R",
    ),
    *(
        "XCaMP-Y",
        "jRCaMP1a",
        "jRCaMP1b",
        "jRGECO1b",
        "FR-GECO1a",
        "Cal-520",
        "Fluo-4",
        "Fura-2",
        "OGB-2",
        "R-GECO1",
    ),
    *("YC3.60", "Twitch-2B", "sRGECO", "RCaMP2"),
)


def known() -> tuple[str, ...]:
    """Names that ``Told`` takes."""
    return NAMES[1:]


def named(name: str) -> str | None:
    """The indicator that a name means, in any spelling (``OGB1``, ``jGCaMP8f``); None for no known one."""
    plain = {_plain(one): one for one in (*known(), *ALIASES)}
    found = plain.get(_plain(name))
    return None if found is None else ALIASES.get(found, found)


def is_other(name: str) -> bool:
    """Whether a name is one of ``OTHERS``."""
    return _plain(name) in map(_plain, OTHERS)


def _plain(name: str) -> str:
    bare = name.lower().replace("-", "").replace("_", "").replace(" ", "")
    return bare.removeprefix("j") if bare.startswith("jgcamp") else bare


def place(name: str | None) -> int:
    """Where an indicator stands among the network's inputs; 0 where it is not known."""
    return 0 if name is None else NAMES.index(name)
