"""Simulated data sets that memory does not hold, written while they are drawn."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import ArrayLike

from dfp.core.files import atomic_path
from dfp.data.chunks import stretches
from dfp.data.dataset import Dataset
from dfp.data.networks import Network
from dfp.data.simulate import CALCIUM, parameters_of, radius_of, seed_by_cell
from dfp.models.kinds import Observation


def write_long(
    path: Path,
    network: Network,
    seeds: Sequence[int],
    *,
    bin_rate: float,
    bins: int,
    trials: int,
    test_trials: int,
    kernel_bins: int,
    width: int,
    allow_supercritical: bool = False,
    observation: Observation = CALCIUM,
    **measurement: ArrayLike,
) -> None:
    """Draw trials of ``network`` and write them to ``path``, ``width`` bins at a time, as a ``Dataset``.

    The memory taken grows with width × N, not with the bins; spikes are written as they come, traces pass
    through a temporary file beside ``path`` (a ``.npz`` is written array by array). What is written does not
    depend on the width. Traces are not compressed: they are noise.

    Args:
        width: bins at a time.
        measurement: rise, decay (seconds), amplitude, baseline, noise (fluorescence). These and the other
            arguments are those of ``simulate``.

    Raises:
        UserError: for a supercritical network, unless allowed.
    """
    radius = radius_of(network, seeds, allow_supercritical)
    parameters = observation.parameters(parameters_of(network, **measurement))  # type: ignore[arg-type]
    model = observation.model(parameters, bin_rate, kernel_bins=kernel_bins).double()
    spikes = 0
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for suffix, numbers in (("", range(trials)), ("_test", range(trials, trials + test_trials))):
            shape = (len(numbers), bins, network.cells)
            with tempfile.TemporaryFile(dir=temporary.parent) as traces:
                with _member(archive, f"z{suffix}", shape, np.int8) as member:
                    for trial in numbers:
                        for z, x in stretches(model, seeds, bins, trial, width):
                            member.write(z.tobytes())
                            traces.write(x.tobytes())
                            spikes += int(z.sum())
                traces.seek(0)
                with _member(archive, f"x{suffix}", shape, np.float32, zipfile.ZIP_STORED) as member:
                    shutil.copyfileobj(traces, member, 1 << 22)
        nothing = np.zeros((0, 0, network.cells), dtype=np.float32)
        rate = spikes * bin_rate / ((trials + test_trials) * bins * network.cells)
        described = Dataset(
            x=nothing, x_test=nothing, bin_rate=bin_rate, seed=seed_by_cell(network, seeds),
            names=network.names, start=parameters, known=True, kernel_bins=kernel_bins,
            facts={"spectral_radius": float(radius), "mean_rate_hz": rate},
        ).described()  # fmt: skip
        for name, value in described.items():
            array = np.asanyarray(value)
            with _member(archive, name, array.shape, array.dtype) as member:
                member.write(array.tobytes())


@contextmanager
def _member(
    archive: zipfile.ZipFile, name: str, shape: tuple[int, ...], kind: Any, how: int = zipfile.ZIP_DEFLATED
) -> Iterator[IO[bytes]]:
    """An array of the ``.npz`` whose values are then written, in order."""
    entry = zipfile.ZipInfo(f"{name}.npy")
    entry.compress_type = how
    header = {"descr": np.lib.format.dtype_to_descr(np.dtype(kind)), "fortran_order": False, "shape": shape}
    with archive.open(entry, "w", force_zip64=True) as member:
        np.lib.format.write_array_header_1_0(member, header)
        yield member
