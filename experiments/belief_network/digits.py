"""Binary images: scikit-learn's handwritten digits, which come with the package, and the user's own MNIST."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dfp.core.errors import UserError
from dfp.core.extras import optional

from .mnist import load_mnist

#: how grey values become bits
BINARISE = ("threshold", "stochastic")
#: the split of the digits: a permutation that is always the same, of which the first 1,437 images train
SPLIT_SEED, TRAIN = 0, 1_437
#: grey values of the digits: 0 (background) to 16
DEEPEST = 16.0

Bits = NDArray[np.float32]
Grey = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Binary images.

    Attributes:
        train, test: ``(n, D)`` float32 of 0 and 1, rows of pixels one below the other.
        shape: rows and columns of a picture; their product is D.
    """

    train: Bits
    test: Bits
    shape: tuple[int, int]


@dataclass(frozen=True)
class ImageSource:
    """Where images come from, as settings.

    Attributes:
        kind: ``digits`` (1,797 pictures of 8 × 8, Alpaydin & Kaynak 1998: of another kind than MNIST, so that
            bounds on the two cannot be compared) or ``mnist`` (60,000 + 10,000 of 28 × 28).
        path: of MNIST: an ``.npz`` with x_train and x_test, or the folder of the four IDX files; never
            downloaded.
        binarise: ``threshold``: 1 where the grey value is above half. ``stochastic``: 1 with the grey value
            as its probability, drawn once.
        seed: of that draw.

    Raises:
        UserError: for a setting without meaning.
    """

    kind: str = "digits"
    path: str = ""
    binarise: str = "threshold"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in ("digits", "mnist"):
            raise UserError(f"kind: found {self.kind!r}, expected digits or mnist")
        if self.binarise not in BINARISE:
            raise UserError(f"binarise: found {self.binarise!r}, expected {' or '.join(BINARISE)}")
        if self.kind == "mnist" and not self.path:
            raise UserError("path: found none, expected the user's MNIST: an .npz or a folder of IDX files")
        if self.kind == "digits" and self.path:
            raise UserError(f"path: found {self.path!r}, expected none: the digits come with scikit-learn")

    def load(self) -> ImageSet:
        """The images."""
        if self.kind == "digits":
            return digits(self.binarise, self.seed)
        return mnist(self.path, self.binarise, self.seed)


def digits(binarise: str = "threshold", seed: int = 0) -> ImageSet:
    """scikit-learn's digits: 1,437 pictures to train on, 360 to test, 8 × 8; the split is always the same.

    Raises:
        UserError: for an unknown way of binarising, and where scikit-learn is not installed.
    """
    with optional():
        from sklearn.datasets import load_digits
    grey = np.asarray(load_digits().data, dtype=np.float64) / DEEPEST
    grey = grey[np.random.default_rng(SPLIT_SEED).permutation(len(grey))]
    return _binary(grey[:TRAIN], grey[TRAIN:], (8, 8), binarise, seed)


def mnist(path: str, binarise: str = "threshold", seed: int = 0) -> ImageSet:
    """The user's own MNIST, split as it comes; see ``load_mnist`` for what is read.

    Raises:
        UserError: for files that are not there or are not MNIST, and for an unknown way of binarising.
    """
    train, test = load_mnist(path)
    return _binary(train, test, (28, 28), binarise, seed)


def _binary(train: Grey, test: Grey, shape: tuple[int, int], binarise: str, seed: int) -> ImageSet:
    """Bits of grey values between 0 and 1; train and test have a stream of random numbers each."""
    if binarise not in BINARISE:
        raise UserError(f"binarise: found {binarise!r}, expected {' or '.join(BINARISE)}")
    bits = []
    for part, grey in enumerate((train, test)):
        level = np.random.default_rng([seed, part]).random(grey.shape) if binarise == "stochastic" else 0.5
        bits.append((grey > level).astype(np.float32))
    return ImageSet(bits[0], bits[1], shape)
