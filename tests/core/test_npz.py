"""Archives written piece by piece: what NumPy reads of them, and that they are whole or absent."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dfp.core.npz import npz_archive


def write(path: Path, values: np.ndarray, columns: bool) -> None:
    parts = values.T if columns else values
    with npz_archive(path) as archive:
        archive.add_parts("x", values.shape, np.float32, parts, columns=columns)
        archive.add("names", np.array(["é", "long name"]))


@pytest.mark.parametrize("columns", [True, False])
def test_parts_are_read_as_one_array_without_pickle(tmp_path: Path, columns: bool) -> None:
    values = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)
    write(tmp_path / "a.npz", values, columns)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as held:
        assert held["x"].shape == (7, 3) and np.array_equal(held["x"], values)
        assert held["names"].tolist() == ["é", "long name"]
    # no clock goes in
    write(tmp_path / "b.npz", values, columns)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_what_is_cut_off_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), npz_archive(tmp_path / "a.npz") as archive:
        archive.add("x", np.zeros(3))
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
