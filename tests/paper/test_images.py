"""Binary images: the digits' split and bits, and the user's own MNIST, read from files written here."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from dfp.core.errors import UserError
from experiments.belief_network.digits import ImageSource, digits


def test_every_digit_is_in_one_part_of_the_split_and_the_split_is_fixed() -> None:
    images = digits()
    assert images.train.shape == (1437, 64) and images.test.shape == (360, 64) and images.shape == (8, 8)
    ours = np.concatenate((images.train, images.test))
    theirs = (load_digits().data > 8).astype(np.float32)
    assert sorted(map(bytes, ours)) == sorted(map(bytes, theirs)), "bits are grey values above half of 16"
    assert np.array_equal(digits().test, images.test)
    assert np.array_equal(digits("threshold", 3).train, images.train), "the seed is of the random bits only"


def test_stochastic_bits_have_the_grey_values_as_their_probabilities() -> None:
    first, again, other = digits("stochastic", 1), digits("stochastic", 1), digits("stochastic", 2)
    assert np.array_equal(first.train, again.train) and not np.array_equal(first.train, other.train)
    assert set(np.unique(first.train)) == {0.0, 1.0}
    total = sum(digits("stochastic", seed).train.mean() for seed in range(20)) / 20
    grey = load_digits().data.mean() / 16
    assert abs(total - grey) < 0.005  # 1.8 million bits: sd below 0.0004, and the split moves the mean
    differing = (first.train != other.train).mean()
    clear = np.isin(load_digits().data, (0, 16)).mean()
    assert 0 < differing < 0.5 * (1 - clear) + 0.01, "black and white pixels are never drawn otherwise"


@pytest.fixture
def pictures() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    train, test = (rng.integers(0, 256, (n, 28, 28)).astype(np.uint8) for n in (7, 3))
    return train, test


def idx(path: Path, pictures: np.ndarray) -> None:
    raw = np.array([0x803, *pictures.shape], dtype=">u4").tobytes() + pictures.tobytes()
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)


def test_mnist_is_read_from_either_kind_of_file(
    tmp_path: Path, pictures: tuple[np.ndarray, np.ndarray]
) -> None:
    train, test = pictures
    np.savez(tmp_path / "mnist.npz", x_train=train, x_test=test)
    folder = tmp_path / "idx"
    folder.mkdir()
    idx(folder / "train-images-idx3-ubyte.gz", train)
    idx(folder / "t10k-images.idx3-ubyte", test)
    for path in (tmp_path / "mnist.npz", folder):
        images = ImageSource(kind="mnist", path=str(path)).load()
        assert images.shape == (28, 28)
        assert np.array_equal(images.train, (train.reshape(7, -1) > 127).astype(np.float32))
        assert np.array_equal(images.test, (test.reshape(3, -1) > 127).astype(np.float32))


def test_bad_files_are_told_in_a_sentence(tmp_path: Path, pictures: tuple[np.ndarray, np.ndarray]) -> None:
    def found(path: Path) -> str:
        with pytest.raises(UserError) as error:
            ImageSource(kind="mnist", path=str(path)).load()
        assert str(path) in str(error.value)
        return str(error.value)

    assert "no such file or folder" in found(tmp_path / "none")
    assert "found no train-images-idx3-ubyte" in found(tmp_path)
    idx(tmp_path / "train-images-idx3-ubyte", pictures[0][:, :20])
    idx(tmp_path / "t10k-images-idx3-ubyte", pictures[1])
    assert "(20, 28), expected 28 × 28" in found(tmp_path)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03" + b"\0\0\0\1" * 3)
    assert "found 0 bytes of pixels, expected 1 × 1 × 1" in found(tmp_path)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(b"P5 28 28")
    assert "expected one that begins with 0x00000803" in found(tmp_path)
    for name, arrays, told in (
        ("a.npz", {"x_train": pictures[0]}, "found no array 'x_test'"),
        ("b.npz", dict.fromkeys(("x_train", "x_test"), pictures[0] / 255.0), "type float64"),
        ("c.npz", dict.fromkeys(("x_train", "x_test"), pictures[0].astype(int) - 1000), "type int64"),
    ):
        np.savez(tmp_path / name, **arrays)
        assert told in found(tmp_path / name)
    (tmp_path / "d.npz").write_bytes(b"PK\3\4 nothing else")
    assert "found no readable .npz" in found(tmp_path / "d.npz")


def test_settings_without_meaning_are_refused() -> None:
    for settings, told in (
        ({"kind": "letters"}, "kind: found 'letters', expected digits or mnist"),
        ({"binarise": "median"}, "binarise: found 'median', expected threshold or stochastic"),
        ({"kind": "mnist"}, "path: found none"),
        ({"path": "here"}, "path: found 'here', expected none"),
    ):
        with pytest.raises(UserError, match=told):
            ImageSource(**settings)
    with pytest.raises(UserError, match="binarise: found 'median'"):
        digits("median")
