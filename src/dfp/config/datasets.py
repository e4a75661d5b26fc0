"""Data sets by name: shared settings, one data set a seed for networks, and those that peers are tuned on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dfp.config.networks import check_network
from dfp.config.peers import PeersSpec
from dfp.config.schema import RecordingsSpec, SimulationSpec
from dfp.core.errors import UserError, suggest
from dfp.core.parse import build, convert, merge
from dfp.core.read import read_yaml

#: beside the experiments' folders: settings that several experiments start from by ``extends``
SHARED = "datasets.yaml"


@dataclass(frozen=True)
class DataEntry:
    """One data set.

    Attributes:
        raw: its plain settings, all that its file depends on.
        spec: the same, typed.
        setting: what the configuration calls it, for networks: `slow` for the data sets `slow_0`, `slow_1`, …
            (networks that differ by their seed only); empty for panels and recordings.
        tuning: no run is trained on it; the peers choose their settings on it.
    """

    raw: dict[str, Any]
    spec: SimulationSpec | RecordingsSpec
    setting: str = ""
    tuning: bool = False


def make_datasets(
    own: Mapping[str, dict[str, Any]], kind: str, peers: PeersSpec | None, path: Path, where: str
) -> dict[str, DataEntry]:
    """All data sets of an experiment's document at ``path``.

    A data set that ``extends`` another starts from its settings: one of the same document, or of
    ``datasets.yaml`` beside the experiments. A network with several seeds becomes a data set for each.
    """
    shared = read_shared(path)
    entries: dict[str, DataEntry] = {}
    for name in own:
        place = f"{where}: datasets.{name}"
        raw = _extended(name, own, shared, place)
        for made, entry in _entries(name, raw, kind, peers, place).items():
            if made in entries:
                raise UserError(f"{place}: found a second data set named '{made}', expected different names")
            entries[made] = entry
    if peers is not None:
        _check_peers(peers, entries, where)
    return entries


def _check_peers(peers: PeersSpec, entries: Mapping[str, DataEntry], where: str) -> None:
    """Refuse a peer that is kept to data sets which are not there."""
    scored = {name: entry.setting for name, entry in entries.items() if not entry.tuning}
    known = list(dict.fromkeys([*filter(None, scored.values()), *scored]))
    for method, names in peers.only.items():
        for name in names:
            if name not in known:
                raise UserError(
                    f"{where}: peers.only.{method}: unknown data set {name!r}{suggest(name, known)}; known: "
                    f"{', '.join(known)}"
                )


def read_shared(path: Path) -> dict[str, dict[str, Any]]:
    """The shared data sets beside the folder of the experiment at ``path``; none without such a file."""
    shared = path.parent.parent / SHARED
    if not shared.is_file():
        return {}
    return convert(dict[str, dict[str, Any]], read_yaml(shared), str(shared))


def _extended(
    name: str, own: Mapping[str, dict[str, Any]], shared: Mapping[str, dict[str, Any]], where: str
) -> dict[str, Any]:
    settings: dict[str, Any] = dict(own[name])
    seen = [name]
    while "extends" in settings:
        below = convert(str, settings.pop("extends"), f"{where}.extends")
        known = {**shared, **own}
        if below in seen and below not in shared:
            raise UserError(f"{where}.extends: found a circle ({' → '.join([*seen, below])})")
        if below not in known:
            raise UserError(
                f"{where}.extends: unknown data set {below!r}{suggest(below, known)}; known: "
                f"{', '.join(known) or 'none'}"
            )
        settings = merge(shared[below] if below in seen else known[below], settings)
        seen.append(below)
    return settings


def _entries(
    name: str, raw: dict[str, Any], kind: str, peers: PeersSpec | None, where: str
) -> dict[str, DataEntry]:
    if kind == "recordings":
        return {name: DataEntry(raw, build(RecordingsSpec, raw, where))}
    spec = build(SimulationSpec, raw, where)
    check_network(spec, where)
    if spec.network.get("kind") == "independent":
        return {name: DataEntry(raw, spec)}
    several = len(spec.seeds) > 1
    found = {}
    for seed in spec.seeds:
        single = {**raw, "seeds": [seed]}
        found[f"{name}_{seed}" if several else name] = DataEntry(
            single, build(SimulationSpec, single, where), setting=name
        )
    if peers is not None and peers.tuning_seed is not None:
        if peers.tuning_seed in spec.seeds:
            raise UserError(
                f"{where}: seeds: found {peers.tuning_seed}, which is the peers' tuning_seed; expected the "
                "peers to be tuned on a network that nothing is scored on"
            )
        single = {**raw, "seeds": [peers.tuning_seed]}
        found[f"{name}_tuning"] = DataEntry(single, build(SimulationSpec, single, where), name, tuning=True)
    return found
