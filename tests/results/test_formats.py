"""Files of inferred spikes: the same numbers in every format, names that say the format."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dfp.core.errors import UserError
from dfp.results.formats.base import BESIDE, KEYS, SpikeArrays, key_list, time_format
from dfp.results.formats.registry import chosen, writers

ROOT = Path(__file__).parents[2]
NAMES = ("soma", "time_s", "ü, quoted")


def arrays(frames: int = 5000, rate: float = 30.0) -> SpikeArrays:
    rng = np.random.default_rng(0)
    held = [
        {
            key: (rng.random(frames) < 0.9) if kind is np.bool_ else rng.random(frames).astype(kind)
            for key, (kind, _) in KEYS.items()
        }
        for _ in NAMES
    ]
    return SpikeArrays(NAMES, 100 + np.arange(frames) / rate, rate, held.__getitem__)


def npz(folder: Path, key: str) -> np.ndarray:
    with np.load(folder / "spikes.npz") as held:
        return np.asarray(held[key])


def csv(folder: Path, key: str) -> np.ndarray:
    table = pd.read_csv(folder / "spikes.csv")
    return np.stack([table[table["cell"] == name][key] for name in NAMES], axis=1)


def wide(folder: Path, key: str) -> np.ndarray:
    return pd.read_csv(folder / f"{key}.csv").to_numpy()[:, 1:]


def hdf5(folder: Path, key: str) -> np.ndarray:
    h5py = pytest.importorskip("h5py")
    with h5py.File(folder / "spikes.h5") as held:
        return np.asarray(held[key])


def nwb(folder: Path, key: str) -> np.ndarray:
    pynwb = pytest.importorskip("pynwb")
    with pynwb.NWBHDF5IO(folder / "spikes.nwb", "r") as io:
        return np.asarray(io.read().processing["ophys"][key].data)


READ: dict[str, Callable[[Path, str], np.ndarray]] = {
    "npz": npz,
    "csv": csv,
    "csv-wide": wide,
    "hdf5": hdf5,
    "nwb": nwb,
}


@pytest.mark.parametrize("name", sorted(writers()))
def test_every_format_holds_the_same_numbers_frames_by_cells(tmp_path: Path, name: str) -> None:
    spikes, writer = arrays(), writers()[name]()
    if writer.library:
        pytest.importorskip(writer.library)
    writer.write_into(spikes, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(writer.files)
    for key, (kind, _) in KEYS.items():
        truth = np.stack(list(spikes.columns(key)), axis=1)
        found = READ[name](tmp_path, key)
        assert found.shape == (5000, 3)
        exact = name in ("npz", "hdf5", "nwb") or kind is np.bool_
        assert np.allclose(found, truth, rtol=0 if exact else 1e-7, atol=0)
        assert not exact or "csv" in name or name == "nwb" or found.dtype == kind


def test_what_is_beside_the_arrays(tmp_path: Path) -> None:
    spikes = arrays()
    writers()["npz"]().write(spikes, tmp_path / "x.npz")
    with np.load(tmp_path / "x.npz", allow_pickle=False) as held:
        assert set(held.files) == {*KEYS, *BESIDE, "README"}
        assert np.array_equal(held["time_s"], spikes.time_s) and held["frame_rate"] == 30.0
        assert tuple(held["cells"]) == NAMES and str(held["README"]) == key_list()
    writers()["csv"]().write(spikes, tmp_path / "x.csv")
    table = pd.read_csv(tmp_path / "x.csv")
    assert list(table) == ["time_s", "cell", *KEYS]
    assert np.allclose(table["time_s"][:5000], spikes.time_s, rtol=0, atol=1e-4)
    writers()["csv-wide"]().write(spikes, tmp_path / "low_1s.csv")
    header = (tmp_path / "low_1s.csv").read_text(encoding="utf-8").splitlines()[0]
    assert header == 'time_s,soma,time_s,"ü, quoted"'


def test_hdf5_says_what_it_holds(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    writers()["hdf5"]().write(arrays(), tmp_path / "x.h5")
    with h5py.File(tmp_path / "x.h5") as held:
        assert tuple(held["cells"].asstr()[:]) == NAMES and held["frame_rate"][()] == 30.0
        described = {key: value.attrs["description"] for key, value in held.items()}
    assert described == {**BESIDE, **{key: text for key, (_, text) in KEYS.items()}}


def test_nwb_is_valid_and_tells_the_time_as_it_is(tmp_path: Path) -> None:
    pynwb = pytest.importorskip("pynwb")
    steady = arrays(frames=100)
    gapped = replace(steady, time_s=np.delete(100 + np.arange(140) / 30, np.arange(50, 90)))
    for name, spikes in (("steady", steady), ("gapped", gapped)):
        path = tmp_path / f"{name}.nwb"
        writers()["nwb"]().write(spikes, path)
        assert pynwb.validate(path=path) == []
        with pynwb.NWBHDF5IO(path, "r") as io:
            module = io.read().processing["ophys"]
            assert tuple(module["cells"]["cell_name"][:]) == NAMES
            for key in KEYS:
                series = module[key]
                if name == "steady":
                    assert (series.rate, series.starting_time) == (30.0, 100.0)
                else:
                    assert np.array_equal(series.timestamps, gapped.time_s) and series.rate is None


def test_a_missing_library_is_told_before_anything_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(UserError, match=r"h5py: not installed.*'pip install h5py'"):
        writers()["hdf5"]().ready()
    writers()["npz"]().ready()


def test_times_of_a_clock_keep_a_tenth_of_a_millisecond() -> None:
    for start in (0.0, 3600.0, 1.7e9):
        time = start + np.arange(100) / 500
        told = np.array([float(time_format(time) % one) for one in time])
        assert np.abs(told - time).max() < 1e-4
    assert time_format(np.array([0.0])) == "%.8g"  # as every table of dfp


def test_a_name_says_a_format_or_a_folder(tmp_path: Path) -> None:
    for name, kind, single in (
        ("x.npz", "npz", True), ("x.CSV", "csv", True), ("x.h5", "hdf5", True), ("more", "npz", False),
        ("run.1", "npz", False),
    ):  # fmt: skip
        writer, one = chosen(None, tmp_path / name)
        assert (writer.name, one) == (kind, single)
    assert chosen("csv-wide", tmp_path / "more")[0].name == "csv-wide"
    assert chosen("csv", tmp_path / "x.csv")[0].name == "csv"
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.npz").mkdir()
    for given, name, sentence in (
        (
            "csvv",
            "more",
            r"unknown format 'csvv' \(did you mean 'csv'\?\); known: csv, csv-wide, hdf5, npz, nwb",
        ),
        ("csv", "x.npz", "format: found 'csv' for .*x.npz, which says npz"),
        (
            None,
            "x.xlsx",
            r"ends in '.xlsx', expected a folder or a file ending in .csv, .h5, .hdf5, .npz, .nwb",
        ),
        (None, "file", "found a file, expected a folder"),
        (None, "folder.npz", "found a folder, expected a file of that name"),
    ):
        with pytest.raises(UserError, match=sentence):
            chosen(given, tmp_path / name)


def test_the_page_lists_every_key_and_format() -> None:
    page = (ROOT / "docs" / "recordings.md").read_text(encoding="utf-8")
    assert [name for name in [*KEYS, *BESIDE, *writers()] if f"`{name}`" not in page] == []
