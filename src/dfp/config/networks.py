"""Simulated data sets from their settings: networks by name, and the data themselves."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from dfp.config.schema import SimulationSpec
from dfp.core.errors import UserError, suggest
from dfp.data.bases import exponential_basis
from dfp.data.dataset import Dataset
from dfp.data.instances import Ranges, check_ranges, draw_instance
from dfp.data.long import write_long
from dfp.data.networks import PANEL_HISTORY, Network, independent, peer_setting, sparse_random
from dfp.data.simulate import simulate
from dfp.data.stability import tune_bias_to_rate
from dfp.data.topology import from_topology, load_topology

GENERATORS: dict[str, Callable[..., Network]] = {
    "independent": independent,
    "sparse_random": sparse_random,
    "peer": peer_setting,
    "edges": from_topology,
}


def simulated(spec: SimulationSpec, where: str) -> Dataset:
    """The data set: all seeds of a panel side by side, or one network.

    Raises:
        UserError: starting with ``where``, for values that give no data.
    """
    network = make_network(spec, where)
    try:
        return simulate(network, spec.seeds, **_settled(spec))
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


def write_simulated(spec: SimulationSpec, where: str, out: Path) -> None:
    """Write the data set to ``out``, a stretch at a time where the settings ask for it.

    Raises:
        UserError: as ``simulated``.
    """
    if not spec.stretch:
        simulated(spec, where).save(out)
        return
    network = make_network(spec, where)
    try:
        write_long(out, network, spec.seeds, width=spec.stretch, **_settled(spec))
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


def _settled(spec: SimulationSpec) -> dict[str, Any]:
    """Sizes, measurement and kind, by the simulators' names for them."""
    names = ("bin_rate", "bins", "trials", "test_trials", "rise", "amplitude", "baseline", "kernel_bins")
    kind = {"allow_supercritical": spec.allow_supercritical, "observation": spec.observed()}
    return {name: getattr(spec, name) for name in names} | measurement(spec) | kind


def make_network(spec: SimulationSpec, where: str) -> Network:
    """Make the network of a simulated data set.

    It is generated or read from an edge list; its biases are tuned where the configuration asks for it.
    """
    check_network(spec, where)
    network = _generate(spec, where)
    if spec.target_rate_hz:
        network = tune_bias_to_rate(network, spec.target_rate_hz, spec.bin_rate, _rng(spec))
    return network


def _generate(spec: SimulationSpec, where: str) -> Network:
    rest = dict(spec.network)
    kind = str(rest.pop("kind"))
    makers = {
        "independent": lambda options: _panel(spec, options),
        "sparse_random": lambda options: sparse_random(
            generator=_rng(spec), bin_rate=spec.bin_rate, **options
        ),
        "peer": lambda options: peer_setting(_rng(spec), **options),
        "edges": lambda options: _from_file(spec, options),
    }
    if "time_constants" in rest:
        rest["basis"] = exponential_basis(rest.pop("time_constants"), spec.bin_rate)
    try:
        return makers[kind](rest)
    except (TypeError, ValueError) as error:
        raise UserError(f"{where}.network: a setting of '{kind}' is of a wrong type ({error})") from None
    except UserError as error:
        raise UserError(f"{where}.network: {error}") from None


def check_network(spec: SimulationSpec, where: str) -> None:
    """Refuse a kind of network or names of settings that are not known, before anything is drawn."""
    takes = {kind: _settings(function) for kind, function in GENERATORS.items()}
    takes["edges"] |= {"path", "name", "cells"}
    takes["independent"] |= {"ranges"}
    kind = spec.network.get("kind")
    if not isinstance(kind, str) or kind not in takes:
        raise UserError(
            f"{where}.network.kind: unknown network {kind!r}{suggest(str(kind), takes)}; known: "
            f"{', '.join(takes)}"
        )
    for key in spec.network:
        if key not in {"kind", *takes[kind]}:
            raise UserError(
                f"{where}.network: unknown key {key!r}{suggest(str(key), takes[kind])}; known for '{kind}': "
                f"{', '.join(sorted(takes[kind]))}"
            )
    history = spec.network.get("history", [])
    if not isinstance(history, list):
        raise UserError(
            f"{where}.network.history: found {history!r}, expected a list of logits per spike, lag 1 first"
        )
    if kind == "edges" and "path" not in spec.network:
        raise UserError(f"{where}.network: the key 'path' is missing")
    if kind == "independent":
        _generate(spec, where)  # cheap enough to have its values refused here too


def _settings(generator: Callable[..., Network]) -> set[str]:
    """The keys that a configuration may give to a generator; the rest comes from the data set.

    A basis is given by its ``time_constants``.
    """
    names = set(inspect.signature(generator).parameters)
    given = {"generator", "bin_rate", "topology", "basis"} | (
        {"cells"} if generator is independent else set()
    )
    return (names - given) | ({"time_constants"} if "basis" in names else set())


def _rng(spec: SimulationSpec) -> np.random.Generator:
    return np.random.default_rng(spec.seeds[0])


def _panel(spec: SimulationSpec, options: dict[str, Any]) -> Network:
    """One cell per seed, each drawn from its own seed; a parameter with a range takes the value drawn."""
    ranges = _ranges(spec)
    options.pop("ranges", None)
    cells = [
        independent(
            1,
            np.random.default_rng(seed),
            bin_rate=spec.bin_rate,
            **(options | _laws(options, draw_instance(ranges, seed))),
        )
        for seed in spec.seeds
    ]
    size = len(cells)
    return Network(
        bias=np.concatenate([cell.bias for cell in cells]),
        history=np.concatenate([cell.history for cell in cells]),
        coupling=np.zeros((1, size, size)),
        basis=cells[0].basis,
        names=tuple(f"seed{seed}" for seed in spec.seeds),
    )


def _ranges(spec: SimulationSpec) -> Ranges:
    """The ranges of a panel's parameters, checked; none for other networks."""
    lags = len(spec.network.get("history", PANEL_HISTORY))
    return check_ranges(spec.network.get("ranges", {}), lags, spec.bin_rate)


def _laws(options: dict[str, Any], drawn: dict[str, float]) -> dict[str, Any]:
    """The drawn values that the law of the spikes takes: rate, and own history lag by lag."""
    law: dict[str, Any] = {"rate_hz": drawn["rate_hz"]} if "rate_hz" in drawn else {}
    lags = {name: value for name, value in drawn.items() if name.startswith("history_")}
    if lags:
        history = [float(value) for value in options.get("history", PANEL_HISTORY)]
        for name, value in lags.items():
            history[int(name.removeprefix("history_")) - 1] = value
        law["history"] = history
    return law


def measurement(spec: SimulationSpec) -> dict[str, Any]:
    """The ``decay`` (seconds) and ``noise`` (fluorescence) of a data set.

    Each is one number for all cells, or ``(N,)`` numbers drawn from a panel's ranges.
    """
    drawn = [draw_instance(_ranges(spec), seed) for seed in spec.seeds]
    constants: dict[str, Any] = {"decay": spec.decay, "noise": spec.noise}
    return constants | {
        name: np.array([one[name] for one in drawn]) for name in constants if name in drawn[0]
    }


def _from_file(spec: SimulationSpec, options: dict[str, Any]) -> Network:
    """A network on the edges of a file of topologies."""
    path, name = options.pop("path"), options.pop("name", "normal1")
    topology = load_topology(path, name)
    cells = options.pop("cells", None)
    if cells is not None:
        topology = topology.subnetwork(cells)
    return from_topology(topology, _rng(spec), bin_rate=spec.bin_rate, **options)
