"""Reading ground truth in both layouts, made up here: the recordings themselves are not shipped."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from dfp.core.errors import UserError
from dfp.data.cascade import FOLDER_VARIABLE, read_cascade_mat
from dfp.data.readers.cascade import segments_of_mat
from dfp.data.recording import resample_recording
from dfp.data.recordings import load_recordings

RATE = 60.0


@pytest.fixture
def compact(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    arrays: dict[str, np.ndarray] = {}
    # In this layout time 0 is the centre of the first frame: a spike at n / RATE is in the middle of frame n.
    for key, spikes in {
        "DS09_c00_s00": [0.0, 0.1, 0.101, 5.0],
        "DS09_c00_s01": [1.0],
        "DS09_c01_s00": [2.0, 50.0],
    }.items():
        arrays[f"{key}_dff"] = rng.standard_normal(600).astype(np.float32)
        arrays[f"{key}_spk"] = np.array(spikes)
        arrays[f"{key}_dt"] = np.array(1 / RATE)
    np.savez(tmp_path / "DS09-GCaMP6f-m-V1.npz", **arrays)
    late = rng.standard_normal(300).astype(np.float32)
    late[:120] = np.nan
    np.savez(
        tmp_path / "DS18-R-CaMP-m-CA3.npz",
        DS18_c00_s00_dff=late,
        DS18_c00_s00_spk=np.array([0.5]),
        DS18_c00_s00_dt=np.array(0.05),
    )
    (tmp_path / "index.csv").write_text("key,source_file\nDS09_c00_s00,Ground_truth/DS09/cell1.mat\n")
    return tmp_path


def test_everything_is_loaded_in_order(compact: Path) -> None:
    recordings = load_recordings(compact)
    assert [r.name for r in recordings] == ["DS09_c00_s00", "DS09_c00_s01", "DS09_c01_s00", "DS18_c00_s00"]
    assert [r.indicator for r in recordings] == ["GCaMP6f"] * 3 + ["R-CaMP"]
    assert recordings[0].cell == recordings[1].cell == "DS09_c00"
    assert recordings[0].source == "Ground_truth/DS09/cell1.mat"
    assert recordings[1].source == "DS09-GCaMP6f-m-V1.npz"


def test_spikes_fall_into_the_frame_that_they_are_centred_on(compact: Path) -> None:
    recording = load_recordings(compact, ["DS09_c00_s00"])[0]
    assert recording.frame_rate == pytest.approx(RATE)
    assert dict(
        zip(*np.unique(np.repeat(np.arange(600), recording.spike_counts), return_counts=True), strict=True)
    ) == {
        0: 1,
        6: 2,
        300: 1,
    }
    # Two spikes share a frame: a binary latent loses one of four.
    assert recording.spikes.max() == 1 and recording.spikes.sum() == 3
    assert recording.saturation == pytest.approx(0.25)
    finer = recording.counts(4)
    assert finer.shape == (2400,) and finer.sum() == 4
    assert np.array_equal(finer.reshape(-1, 4).sum(1), recording.spike_counts)


def test_spikes_after_the_end_are_dropped(compact: Path) -> None:
    assert load_recordings(compact, ["DS09_c01"])[0].spike_counts.sum() == 1


def test_frames_missing_at_the_beginning_count_in_time(compact: Path) -> None:
    """The spikes' clock starts at the first frame that is there, here frame 120."""
    recording = load_recordings(compact, ["DS18"])[0]
    assert recording.nan_fraction == pytest.approx(0.4)
    assert np.flatnonzero(recording.spike_counts).tolist() == [130]


def test_selection_by_data_set_cell_and_recording(compact: Path) -> None:
    def names(cells: list[str]) -> list[str]:
        return [r.name for r in load_recordings(compact, cells)]

    assert names(["DS09"]) == names(["DS09-GCaMP6f-m-V1"]) == ["DS09_c00_s00", "DS09_c00_s01", "DS09_c01_s00"]
    assert names(["DS09_c00"]) == ["DS09_c00_s00", "DS09_c00_s01"]
    assert names(["DS18_c00_s00", "DS09_c01"]) == ["DS09_c01_s00", "DS18_c00_s00"]
    with pytest.raises(UserError, match=r"no recording 'DS09_c07'"):
        names(["DS09_c07"])
    with pytest.raises(UserError, match=r"no recording 'DS90'.*did you mean"):
        names(["DS09", "DS90"])


def test_too_many_missing_frames_leave_a_recording_out(compact: Path) -> None:
    assert all(r.name.startswith("DS09") for r in load_recordings(compact, max_nan_fraction=0.1))
    with pytest.raises(UserError, match="more than 10% NaN"):
        load_recordings(compact, ["DS18"], max_nan_fraction=0.1)


def test_resampling_averages_frames_and_keeps_every_spike(compact: Path) -> None:
    raw = load_recordings(compact, ["DS09_c00_s00"])[0]
    slow = load_recordings(compact, ["DS09_c00_s00"], frame_rate=30.0)[0]
    assert slow.frame_rate == 30.0 and slow.dff.shape == (300,)
    assert np.allclose(slow.dff, raw.dff.reshape(-1, 2).mean(1), atol=1e-6)
    assert np.array_equal(slow.spike_counts, raw.spike_counts.reshape(-1, 2).sum(1))
    assert resample_recording(raw, 60.5) is raw
    with pytest.raises(UserError, match="imaged at 60 Hz and 90 Hz"):
        resample_recording(raw, 90.0)


def test_baseline_correction_is_an_option(compact: Path) -> None:
    plain = load_recordings(compact, ["DS09_c00_s00"])[0]
    corrected = load_recordings(compact, ["DS09_c00_s00"], baseline_window_seconds=2.0)[0]
    assert not np.array_equal(plain.dff, corrected.dff)
    assert np.median(corrected.dff) == pytest.approx(np.median(plain.dff), abs=0.3)


def test_a_missing_folder_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"no such folder.*HelmchenLabSoftware/Cascade.*DFP_RECORDINGS"):
        load_recordings(tmp_path / "absent")
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    with pytest.raises(UserError, match=r"no folder was given.*Ground_truth/"):
        load_recordings(None)
    with pytest.raises(UserError, match=r"holds no recordings, expected DS\*.npz"):
        load_recordings(tmp_path)


def test_the_environment_names_the_folder(compact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(compact))
    assert len(load_recordings(None)) == 4


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "DS01-X-m.npz", DS01_c00_s00_dff=np.zeros(3))
    with pytest.raises(UserError, match=r"DS01-X-m.npz: could not be read, expected keys"):
        load_recordings(tmp_path)


def write_mat(path: Path, times: np.ndarray, spikes_seconds: list[float]) -> np.ndarray:
    """A file as in the public repository: a cell array of structs."""
    dff = np.random.default_rng(1).standard_normal(len(times))
    dff[np.isnan(times)] = np.nan
    cells = np.empty((1, 2), dtype=object)
    for k in range(2):
        cells[0, k] = {
            "fluo_time": times[:, None],
            "fluo_mean": dff[:, None] + k,
            "events_AP": 1e4 * np.array(spikes_seconds)[:, None],
        }
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(path, {"CAttached": cells})
    return dff


def test_the_public_repository_layout(tmp_path: Path) -> None:
    times = 0.7 + np.arange(500) / 50.0
    dff = write_mat(
        tmp_path / "Ground_truth/DS30-GCaMP8f-m-V1/CAttached_mouse_2_mini.mat", times, [0.705, 1.7, 3.2]
    )
    recordings = load_recordings(tmp_path)
    assert [r.name for r in recordings] == ["DS30_mouse_2_s00", "DS30_mouse_2_s01"]
    assert recordings[0].indicator == "GCaMP8f" and recordings[0].frame_rate == pytest.approx(50.0)
    assert np.allclose(recordings[1].dff, dff + 1, atol=1e-5)
    assert np.flatnonzero(recordings[0].spike_counts).tolist() == [0, 50, 125]
    assert [r.name for r in load_recordings(tmp_path, ["DS30_mouse_2_s01"])] == ["DS30_mouse_2_s01"]


def test_missing_times_at_the_beginning_do_not_move_the_spikes(tmp_path: Path) -> None:
    times = 0.7 + np.arange(500) / 50.0
    times[:100] = np.nan
    write_mat(tmp_path / "a.mat", times, [0.1, 1.7, 3.2])
    recording = read_cascade_mat(tmp_path / "a.mat")[0]
    assert np.flatnonzero(recording.spike_counts).tolist() == [50, 125]
    assert recording.nan_fraction == pytest.approx(0.2)


def test_spikes_without_a_time_are_left_out(tmp_path: Path) -> None:
    write_mat(tmp_path / "a.mat", 0.7 + np.arange(500) / 50.0, [1.7, np.nan, 3.2])
    (first, _) = segments_of_mat(tmp_path / "a.mat")
    assert np.allclose(first.spike_times, [1.01, 2.51]), "seconds from the beginning of the first frame"


def test_a_foreign_mat_file_is_named(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "b.mat", {"other": np.zeros(3)})
    with pytest.raises(UserError, match="no variable 'CAttached'"):
        read_cascade_mat(tmp_path / "b.mat")
    (tmp_path / "c.mat").write_bytes(b"not a mat file at all" * 20)
    with pytest.raises(UserError, match="not a MATLAB file"):
        read_cascade_mat(tmp_path / "c.mat")
    scipy.io.savemat(
        tmp_path / "d.mat", {"CAttached": np.array([[{"fluo_mean": np.zeros(3)}]], dtype=object)}
    )
    with pytest.raises(UserError, match="no field 'fluo_time'"):
        read_cascade_mat(tmp_path / "d.mat")


@pytest.mark.skipif(
    not os.environ.get(FOLDER_VARIABLE), reason="set DFP_RECORDINGS to a folder of recordings"
)
def test_recordings_at_hand_are_sound() -> None:
    recordings = load_recordings(None)
    assert recordings
    for recording in recordings:
        assert 1 < recording.frame_rate < 1000
        assert recording.dff.shape == recording.spike_counts.shape
        assert recording.spike_counts.sum() == len(recording.spike_times)
        assert 0 <= recording.nan_fraction < 1
