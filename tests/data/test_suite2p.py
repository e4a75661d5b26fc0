"""What suite2p leaves: planes, combined, Fall.mat, its frame rate, ROIs that are of no use."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io

from dfp.core.errors import UserError
from dfp.core.inert_pickle import Inert, dict_of_npy
from dfp.data.doubts.admit import admit
from dfp.data.readers.registry import read_traces

T = 900
RNG = np.random.default_rng(0)


def plane(folder: Path, rois: int = 3, frames: int = T, **more: Any) -> np.ndarray:
    """dF/F ``(T, N)`` of a plane whose files are written; ``more`` are its other files, as they are saved."""
    x = 0.02 * np.maximum(RNG.standard_normal((frames, rois)) + 1.0, 0)
    neuropil = 300 + 5 * RNG.standard_normal((rois, frames))
    folder.mkdir(parents=True)
    np.save(folder / "F.npy", (1000 * (1 + x.T) + 0.7 * neuropil).astype("f4"))
    np.save(folder / "Fneu.npy", neuropil.astype("f4"))
    for name, value in more.items():
        np.save(folder / f"{name}.npy", value, allow_pickle=True)
    return x


class Trap:
    """Runs a function when it is read by an ordinary unpickler."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("name", ["ops", "settings"])
@pytest.mark.parametrize("fs", [6.0, np.float64(6.0), np.float32(6.0), np.array(6.0), 6])
def test_the_frame_rate_is_in_the_settings(tmp_path: Path, name: str, fs: Any) -> None:
    settings = {"nplanes": 5, "meanImg": np.ones((4, 4)), "fs": fs, "path": Path("data"), "set": {1}}
    x = plane(tmp_path / "p", **{name: settings})
    traces = read_traces(tmp_path / "p")
    assert traces.frame_rate == 6 and traces.rate_from == f"'fs' in {name}.npy"
    assert np.allclose(traces.x, x, atol=1e-4)
    with pytest.raises(UserError, match="holds a frame rate of 6 Hz, but frame_rate is given as 30 Hz"):
        read_traces(tmp_path / "p", frame_rate=30.0)


def test_nothing_in_the_settings_is_run(tmp_path: Path) -> None:
    """What is plain is read, whatever stands beside it."""
    mark = tmp_path / "ran"
    plane(tmp_path / "p", ops={"trap": Trap(mark), "fs": 12.0, "more": [Trap(mark)]})
    assert read_traces(tmp_path / "p").frame_rate == 12 and not mark.exists()
    held = dict_of_npy(tmp_path / "p" / "ops.npy")
    assert isinstance(held["trap"], Inert) and held["fs"] == 12
    pickle.loads(pickle.dumps(Trap(mark)))
    assert mark.exists(), "the trap is one"


def test_settings_that_cannot_be_read_tell_nothing(tmp_path: Path) -> None:
    plane(tmp_path / "p", ops={"fs": 12.0})
    path = tmp_path / "p" / "ops.npy"
    for held in (path.read_bytes()[:-3], b"", b"nonsense"):
        path.write_bytes(held)
        with pytest.raises(UserError, match=r"does not tell its frame rate.*'fs' in ops.npy.*settings.npy"):
            read_traces(tmp_path / "p")
        assert read_traces(tmp_path / "p", frame_rate=5.0).frame_rate == 5


def test_planes_side_by_side_or_combined(tmp_path: Path) -> None:
    """A shorter plane has missing frames at its end, whether suite2p filled them with zeros or we do."""
    two = plane(tmp_path / "suite2p" / "plane10", 2, T - 7, ops={"fs": 6.0})
    one = plane(tmp_path / "suite2p" / "plane2", 3, T, ops={"fs": 6.0})
    for path in (tmp_path, tmp_path / "suite2p"):
        traces = read_traces(path, allow_nan=True)
        names = [f"plane2_roi{n}" for n in range(3)] + [f"plane10_roi{n}" for n in range(2)]
        assert traces.names == tuple(names) and traces.frame_rate == 6
        assert np.allclose(traces.x[:, :3], one, atol=1e-4) and np.isnan(traces.x[-7:, 3:]).all()
        assert np.allclose(traces.x[:-7, 3:], two, atol=1e-3)
    combined = tmp_path / "suite2p" / "combined"
    plane(combined, 2, ops={"fs": 6.0, "nplanes": 2})
    for name in ("F", "Fneu"):
        held = np.load(combined / f"{name}.npy")
        held[1, -7:] = 0
        np.save(combined / f"{name}.npy", held)
    traces = read_traces(tmp_path / "suite2p", allow_nan=True)
    assert traces.names == ("roi0", "roi1")
    assert np.argwhere(np.isnan(traces.x)).tolist() == [[t, 1] for t in range(T - 7, T)]
    with pytest.raises(UserError, match="different frame rates"):
        np.save(tmp_path / "suite2p" / "plane2" / "ops.npy", {"fs": 7.0}, allow_pickle=True)  # type: ignore[arg-type]
        (combined / "F.npy").unlink()
        read_traces(tmp_path / "suite2p")


@pytest.mark.parametrize("fault", ["zero", "neuropil"])
def test_an_roi_without_a_baseline_is_left_out_and_named(tmp_path: Path, fault: str) -> None:
    x = plane(tmp_path / "p", ops={"fs": 30.0})
    name = "F" if fault == "zero" else "Fneu"
    held = np.load(tmp_path / "p" / f"{name}.npy")
    held[1] *= 0 if fault == "zero" else 6
    np.save(tmp_path / "p" / f"{name}.npy", held)
    said: list[str] = []
    traces = admit(read_traces(tmp_path / "p"), say=said.append)
    assert traces.names == ("roi0", "roi2") and np.allclose(traces.x, x[:, [0, 2]], atol=1e-4)
    (left,) = [one for one in said if "left out" in one]
    assert left.startswith("roi1 is left out: its baseline falls to -") and "--confirm" not in left


def test_fall_is_read_as_its_folder(tmp_path: Path) -> None:
    """Only cells, as dF/F; and an array by itself is told to be raw."""
    plane(tmp_path / "p", iscell=np.array([[1, 0.9], [0, 0.1], [1, 0.8]]), ops={"fs": 30.0})
    arrays = {name: np.load(tmp_path / "p" / f"{name}.npy") for name in ("F", "Fneu", "iscell")}
    scipy.io.savemat(
        tmp_path / "Fall.mat", {**arrays, "spks": arrays["F"], "ops": {"fs": 30.0, "nplanes": 1}}
    )
    folder, fall = read_traces(tmp_path / "p"), read_traces(tmp_path / "Fall.mat")
    assert folder.names == fall.names == ("roi0", "roi2") and folder.frame_rate == fall.frame_rate == 30
    assert np.array_equal(folder.x, fall.x)
    told = read_traces(tmp_path / "Fall.mat", key="F", orientation="cells_first")
    assert np.array_equal(told.x, folder.x)
    for name in ("F", "Fneu"):
        with pytest.raises(
            UserError, match=rf"{name}.npy: one of the arrays that suite2p leaves.*name its folder"
        ):
            read_traces(tmp_path / "p" / f"{name}.npy", frame_rate=30.0)


def test_a_plane_without_cells_does_not_refuse_the_others(tmp_path: Path) -> None:
    x = plane(tmp_path / "suite2p" / "plane0", ops={"fs": 6.0})
    plane(tmp_path / "suite2p" / "plane1", iscell=np.zeros((3, 2)), ops={"fs": 6.0})
    traces = read_traces(tmp_path)
    assert traces.names == ("plane0_roi0", "plane0_roi1", "plane0_roi2")
    assert np.allclose(traces.x, x, atol=1e-4) and any(note.startswith("plane1: no") for note in traces.notes)
    with pytest.raises(UserError, match="no cells are left"):
        read_traces(tmp_path / "suite2p" / "plane1")


def test_a_plane_that_tells_no_rate_has_that_of_the_others(tmp_path: Path) -> None:
    for n, more in enumerate([{}, {"ops": {"fs": 6.0}}]):
        plane(tmp_path / f"plane{n}", **more)
    traces = read_traces(tmp_path)
    assert traces.frame_rate == 6 and any("plane0 does not tell" in note for note in traces.notes)
    with pytest.raises(UserError, match="holds a frame rate of 6 Hz"):
        read_traces(tmp_path, frame_rate=30.0)


def test_settings_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    """What an earlier run of another version left behind."""
    plane(tmp_path / "p", ops={"fs": 30.0}, settings={"fs": 6.0})
    with pytest.raises(UserError, match=r"30 Hz in ops.npy, 6 Hz in settings.npy, expected one"):
        read_traces(tmp_path / "p")
    np.save(tmp_path / "p" / "settings.npy", {"fs": 30.0}, allow_pickle=True)  # type: ignore[arg-type]
    assert read_traces(tmp_path / "p").frame_rate == 30


def test_only_frames_that_suite2p_filled_need_no_leave(tmp_path: Path) -> None:
    """A user's own NaN still does, in a plane of its own length too."""
    plane(tmp_path / "plane0", ops={"fs": 6.0})
    plane(tmp_path / "plane1", 2, T - 7, ops={"fs": 6.0})
    traces = read_traces(tmp_path)
    assert np.argwhere(np.isnan(traces.x)).tolist() == [[t, n] for t in range(T - 7, T) for n in (3, 4)]
    assert any("2 ROIs lack frames" in note for note in traces.notes)
    held = np.load(tmp_path / "plane0" / "F.npy")
    held[0, 5] = np.nan
    np.save(tmp_path / "plane0" / "F.npy", held)
    with pytest.raises(UserError, match=r"1 NaN values in 1 of 5 cells, first at frame 5 of plane0_roi0"):
        read_traces(tmp_path)


def test_fall_of_combined_has_its_rate_beside_it(tmp_path: Path) -> None:
    """From 1.0 on its ``ops`` are those of the recording, which lack ``fs``."""
    folder = tmp_path / "combined"
    plane(folder, iscell=np.ones((3, 2)), settings={"fs": 6.0})
    arrays = {name: np.load(folder / f"{name}.npy") for name in ("F", "Fneu", "iscell")}
    scipy.io.savemat(folder / "Fall.mat", {**arrays, "ops": {"nplanes": 2}})
    traces = read_traces(folder / "Fall.mat")
    assert traces.frame_rate == 6 and traces.rate_from == "'fs' in settings.npy"
