"""Part of `calibration`: the data that its parts simulate."""

from __future__ import annotations

from dataclasses import replace

from dfp.config.networks import check_network, make_network
from dfp.config.schema import SimulationSpec
from dfp.core.errors import UserError
from dfp.data.dataset import Dataset
from dfp.data.simulate import simulate


def check_data(spec: SimulationSpec, where: str, kind: str) -> None:
    """Refuse data of another kind, or that nothing can be held out of or cut."""
    check_network(spec, where)
    if spec.network["kind"] != kind:
        raise UserError(f"{where}.network.kind: found {spec.network['kind']!r}, expected {kind!r}")
    make_network(spec, where)  # cheap enough to have its values refused here too
    if not spec.kernel_bins:
        raise UserError(f"{where}.kernel_bins: found 0, expected a cut kernel, as the references need")


def simulated(spec: SimulationSpec, seed: int | None = None) -> Dataset:
    """A data set of all seeds (a panel), or of one (a network)."""
    one = spec if seed is None else replace(spec, seeds=[seed])
    return simulate(
        make_network(one, "study"),
        one.seeds,
        frame_rate=one.frame_rate,
        bins=one.bins,
        trials=one.trials,
        test_trials=one.test_trials,
        rise=one.rise,
        decay=one.decay,
        amplitude=one.amplitude,
        baseline=one.baseline,
        noise=one.noise,
        kernel_bins=one.kernel_bins,
        allow_supercritical=one.allow_supercritical,
    )
