"""MATLAB, HDF5, CaImAn, NWB and pynapple as their own libraries write them: names, clocks, what is none."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io
from hypothesis import given, settings
from hypothesis import strategies as st
from reader_files import Content, write_mat73

from dfp.core.errors import UserError
from dfp.data.arrays import array_traces
from dfp.data.readers.registry import read_traces

T = 600
X = np.random.default_rng(0).normal(0, 0.1, (T, 3)).astype(np.float32)
CLOCK = np.arange(T) / 30.0


def cells(*entries: Any) -> np.ndarray:
    """A cell array of MATLAB."""
    made = np.empty((1, len(entries)), dtype=object)
    made[0, :] = entries
    return made


def test_cell_arrays_and_structs_of_matlab(tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    one = np.empty((1, 1), dtype=object)
    one[0, 0] = X.T.astype(float)
    scipy.io.savemat(path, {"Fcell": one})
    found = read_traces(path, frame_rate=30, orientation="cells_first")
    assert np.array_equal(found.x, X)
    two = np.empty((1, 2), dtype=object)
    two[0, 0], two[0, 1] = X[:300].T, X[300:].T
    scipy.io.savemat(path, {"dat": {"Fcell": two}})
    with pytest.raises(UserError, match=r"holds 2 arrays.*dat.Fcell\{1\}, dat.Fcell\{2\}.*--key"):
        read_traces(path, frame_rate=30, orientation="cells_first")
    second = read_traces(path, frame_rate=30, orientation="cells_first", key="dat.Fcell{2}")
    assert np.array_equal(second.x, X[300:])


def test_programs_that_leave_structs_of_many(tmp_path: Path) -> None:
    """EXTRACT's weights lie as frames × cells, CNMF-E's traces as cells × frames."""
    path = tmp_path / "a.mat"
    scipy.io.savemat(
        path, {"output": {"temporal_weights": X, "spatial_weights": np.ones((9, 9)), "info": "x"}}
    )
    assert np.array_equal(read_traces(path, frame_rate=30).x, X)
    neuron = {"C_raw": X.T, "C": X.T, "S": np.abs(X.T), "A": np.ones((81, 3)), "Fs": 20.0}
    scipy.io.savemat(path, {"neuron": neuron})
    found = read_traces(path)
    assert np.array_equal(found.x, X) and found.frame_rate == 20


def test_version_7_3_is_as_version_5(tmp_path: Path) -> None:
    read = read_traces(write_mat73(tmp_path, Content(X, frame_rate=30.0)))
    scipy.io.savemat(tmp_path / "b.mat", {"data": {"dff": X, "fs": 30.0}})
    old = read_traces(tmp_path / "b.mat")
    assert np.array_equal(read.x, old.x) and read.frame_rate == old.frame_rate == 30
    library = pytest.importorskip("hdf5storage")
    library.savemat(str(tmp_path / "c.mat"), {"x": X, "cell": cells(X[:, :1], X), "fs": 15.0}, format="7.3")
    found = read_traces(tmp_path / "c.mat", key="x")
    assert np.array_equal(found.x, X) and found.frame_rate == 15
    assert np.array_equal(read_traces(tmp_path / "c.mat", key="cell{2}", frame_rate=15).x, X)


def test_a_tree_of_hdf5_tells_its_frame_rate(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["session/dff"] = X
        file["session/timestamps"] = np.delete(np.arange(T + 2) / 10, [50, 51])
        file["session/label"] = "a mouse"
    found = read_traces(path)
    assert found.frame_rate == pytest.approx(10) and np.isnan(found.x[50:52]).all() and len(found.x) == T + 2
    with h5py.File(path, "w") as file:
        file["session/dff"] = X
        file["session"].attrs["frame_rate"] = 12.5
        file["other/spikes"] = X
    with pytest.raises(UserError, match=r"holds 2 arrays that could be traces \(other/spikes, session/dff\)"):
        read_traces(path)
    assert read_traces(path, key="session/dff").frame_rate == 12.5


def test_caiman_takes_accepted_components_and_knows_what_is_none(tmp_path: Path) -> None:
    path = tmp_path / "a.hdf5"
    with h5py.File(path, "w") as file:
        file["estimates/C"] = X.T + 3
        file["estimates/F_dff"] = X.T
        file["estimates/S"] = np.abs(X.T)
        file["estimates/idx_components"] = np.array([2, 0])
        file["params/data/fr"] = 30
    found = read_traces(path)
    assert found.names == ("c2", "c0") and np.array_equal(found.x, X[:, [2, 0]]) and found.frame_rate == 30
    assert np.array_equal(read_traces(path, key="estimates/C").x, (X + 3)[:, [2, 0]])
    with h5py.File(path, "a") as file:
        for name in ("F_dff", "idx_components"):
            del file[f"estimates/{name}"]
            file[f"estimates/{name}"] = "NoneType"
    found = read_traces(path)
    assert found.names == ("c0", "c1", "c2") and any("not dF/F" in note for note in found.notes)
    with h5py.File(path, "a") as file:
        del file["estimates/idx_components"]
        file["estimates/idx_components"] = np.zeros(0, dtype=int)
    with pytest.raises(UserError, match="no component is accepted"):
        read_traces(path)


def nwb(path: Path, **series: Any) -> Path:
    """A file with raw fluorescence, that of the neuropil and, as ``series`` say, dF/F."""
    from pynwb import NWBHDF5IO, NWBFile
    from pynwb.ophys import DfOverF, Fluorescence, ImageSegmentation, OpticalChannel, RoiResponseSeries

    file = NWBFile("a recording", "made up", datetime(2024, 1, 1, tzinfo=UTC))
    device = file.create_device(name="microscope")
    channel = OpticalChannel(name="green", description="GCaMP", emission_lambda=510.0)
    plane = file.create_imaging_plane(
        name="plane", optical_channel=channel, description="V1", device=device, excitation_lambda=920.0,
        indicator="GCaMP6f", location="V1",
    )  # fmt: skip
    module = file.create_processing_module(name="ophys", description="processed")
    segmentation = ImageSegmentation()
    module.add(segmentation)
    table = segmentation.create_plane_segmentation(name="cells", description="rois", imaging_plane=plane)
    for number in (11, 12, 13):
        table.add_roi(pixel_mask=[(0, 0, 1.0)], id=number)
    rois = table.create_roi_table_region(region=[0, 1, 2], description="all")
    raw = [
        RoiResponseSeries(name=name, data=1000 + X, rois=rois, unit="n.a.", rate=30.0)
        for name in ("RoiResponseSeries", "Neuropil")
    ]
    module.add(Fluorescence(roi_response_series=raw))
    if series:
        module.add(
            DfOverF(roi_response_series=[RoiResponseSeries(name="dff", rois=rois, unit="n.a.", **series)])
        )
    with NWBHDF5IO(str(path), "w") as io:
        io.write(file)
    return path


def test_nwb_by_rate_or_timestamps(tmp_path: Path) -> None:
    path = nwb(tmp_path / "a.nwb", data=X, rate=30.0, starting_time=5.0)
    found = read_traces(path)
    assert found.names == ("roi11", "roi12", "roi13") and np.array_equal(found.x, X)
    assert found.frame_rate == 30 and found.times is not None and np.allclose(found.times, 5 + CLOCK)
    kept = np.delete(np.arange(T + 1), 40)
    path = nwb(
        tmp_path / "b.nwb", data=(1000 * X).round().astype("i2"), timestamps=kept / 30.0, conversion=1e-3
    )
    found = read_traces(path)
    assert np.isnan(found.x[40]).all() and np.allclose(np.delete(found.x, 40, 0), X, atol=1e-3)
    with pytest.raises(UserError, match="holds a frame rate of 30 Hz, but frame_rate is given as 10 Hz"):
        read_traces(path, frame_rate=10)
    raw = read_traces(path, key="ophys/Fluorescence/RoiResponseSeries")
    assert raw.x.min() > 900 and any("not DfOverF" in note for note in raw.notes)
    raw = read_traces(nwb(tmp_path / "c.nwb"))  # the neuropil is no trace
    assert raw.x.shape == (T, 3)


def test_the_time_support_of_pynapple(tmp_path: Path) -> None:
    nap = pytest.importorskip("pynapple")
    times = np.r_[CLOCK[:300], 100 + CLOCK[:300]]
    support = nap.IntervalSet([0, 100], [10, 110])
    nap.TsdFrame(t=times, d=X, columns=["a", "b", "c"], time_support=support).save(str(tmp_path / "a.npz"))
    found = read_traces(tmp_path / "a.npz")
    assert found.names == ("a", "b", "c") and found.frame_rate == pytest.approx(30)
    assert found.epochs == ((0, 300), (450, 750)) and np.array_equal(found.x[450:], X[300:])
    nap.Tsd(t=CLOCK, d=X[:, 0]).save(str(tmp_path / "b.npz"))
    assert np.array_equal(read_traces(tmp_path / "b.npz").x, X[:, :1])


def test_stores_of_minian(tmp_path: Path) -> None:
    """A folder of zarr stores, axes ``unit_id`` and ``frame``; one store of them; and in Python."""
    xarray = pytest.importorskip("xarray")
    traces = xarray.DataArray(
        X.T, dims=["unit_id", "frame"], coords={"unit_id": [3, 17, 42], "frame": np.arange(T)}
    )
    for name, values in (("C", traces), ("S", abs(traces))):
        values.to_dataset(name=name).to_zarr(tmp_path / "minian" / f"{name}.zarr")
    for path in (tmp_path / "minian", tmp_path / "minian" / "C.zarr"):
        found = read_traces(path, frame_rate=30)
        assert found.names == ("3", "17", "42") and np.array_equal(found.x, X)
    assert np.array_equal(array_traces(traces, 30).x, X)
    lossy = traces.isel(frame=np.delete(np.arange(T), 9))
    assert np.flatnonzero(np.isnan(array_traces(lossy, 30).x[:, 0])).tolist() == [9]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_tree_is_read_or_refused_in_a_sentence(data: st.DataObject) -> None:
    names = st.sampled_from(["a", "dff", "time", "fs", "estimates", "C", "F_dff", "idx_components", "x"])
    shapes = st.lists(st.integers(0, 7), max_size=3)
    kinds = st.sampled_from(["f4", "f8", "i2", "u1", "?", "c16", "S3"])
    with TemporaryDirectory() as folder:
        path = Path(folder) / data.draw(st.sampled_from(["a.h5", "a.hdf5", "a.mat"]))
        with h5py.File(path, "w") as file:
            for _ in range(data.draw(st.integers(0, 6))):
                name = "/".join(data.draw(st.lists(names, min_size=1, max_size=3)))
                rng = np.random.default_rng(data.draw(st.integers(0, 99)))
                values = rng.normal(size=data.draw(shapes)) * 10
                try:
                    file[name] = values.astype(data.draw(kinds))
                except (ValueError, OSError, TypeError, KeyError):
                    continue
        try:
            traces = read_traces(path, frame_rate=30, allow_nan=True)
        except UserError as error:
            assert str(error).startswith(str(path)) and "\n" not in str(error)
            assert "could not be read as" not in str(error), "a sentence of its own"
        else:
            assert traces.x.dtype == np.float32 and traces.x.ndim == 2
