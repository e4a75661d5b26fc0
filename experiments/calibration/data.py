"""Part of `calibration`: the data that its parts simulate."""

from __future__ import annotations

from dataclasses import replace

from dfp.config.networks import check_network, make_network, simulated
from dfp.config.schema import SimulationSpec
from dfp.core.errors import UserError
from dfp.data.dataset import Dataset


def check_data(spec: SimulationSpec, where: str, kind: str) -> None:
    """Refuse data of another kind, or that nothing can be held out of or cut."""
    check_network(spec, where)
    if spec.network["kind"] != kind:
        raise UserError(f"{where}.network.kind: found {spec.network['kind']!r}, expected {kind!r}")
    make_network(spec, where)  # cheap enough to have its values refused here too
    if not spec.kernel_bins:
        raise UserError(f"{where}.kernel_bins: found 0, expected a cut kernel, as the references need")


def of_seed(spec: SimulationSpec, seed: int) -> Dataset:
    """The network of one seed."""
    return simulated(replace(spec, seeds=[seed]), f"seed {seed}")
