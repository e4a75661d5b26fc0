"""Weights as files: whole, known by their hash, never unpickled."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from amortised_parts import random_network

from dfp.amortised import weights
from dfp.amortised.posterior import load_pretrained
from dfp.core.errors import UserError

FACTS = {"dfp": "0.1.0", "made": "2026-01-02", "learned_from": "simulated cells", "commit": "abc"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    weights.save(random_network(1), FACTS, tmp_path / "mine.npz")
    return tmp_path / "mine.npz"


def refused(path: Path) -> str:
    with pytest.raises(UserError) as told:
        weights.load(weights.find(path))
    sentence = str(told.value)
    assert "\n" not in sentence and "`dfp pretrain` makes them" in sentence
    return sentence


def rewritten(path: Path, content: bytes) -> None:
    """Other bytes under the digest that they have."""
    path.write_bytes(content)
    beside = path.with_suffix(".json")
    beside.write_text(json.dumps({**json.loads(beside.read_text()), "sha256": weights.digest(path)}))


def test_what_is_saved_is_what_is_loaded(file: Path) -> None:
    network, facts = weights.load(file)
    before = random_network(1).state_dict()
    assert network.sizes == random_network(1).sizes
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not network.training and not any(one.requires_grad for one in network.parameters())
    assert facts == {**FACTS, "sha256": weights.digest(file)}
    assert load_pretrained(file).digest == facts["sha256"]


def test_the_same_network_is_the_same_file(file: Path, tmp_path: Path) -> None:
    weights.save(random_network(1), {}, tmp_path / "again.npz")
    assert weights.digest(tmp_path / "again.npz") == weights.digest(file)
    weights.save(random_network(2), {}, tmp_path / "other.npz")
    assert weights.digest(tmp_path / "other.npz") != weights.digest(file)


def test_a_missing_file_is_told_with_what_there_is(tmp_path: Path) -> None:
    assert "none.npz: no such weights" in refused(tmp_path / "none.npz")
    assert "did you mean 'cells'?" in refused(Path("cell"))


def test_a_missing_provenance_is_told(file: Path) -> None:
    file.with_suffix(".json").unlink()
    assert "mine.json: no such file, expected it beside the weights" in refused(file)


@pytest.mark.parametrize("content", ["{}", "[]", '{"sha256": null}'])
def test_a_provenance_without_a_digest_is_told(file: Path, content: str) -> None:
    file.with_suffix(".json").write_text(content)
    assert "mine.json: found no 'sha256'" in refused(file)


@pytest.mark.parametrize("how", ["cut", "one byte"])
def test_other_bytes_than_the_digest_says_are_refused(file: Path, how: str) -> None:
    whole = bytearray(file.read_bytes())
    whole[len(whole) // 2] ^= 1
    file.write_bytes(bytes(whole) if how == "one byte" else bytes(whole[: len(whole) // 2]))
    assert "its SHA-256 is" in refused(file) and "as mine.json says" in refused(file)


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.999])
def test_a_cut_file_is_refused_even_under_its_own_digest(file: Path, share: float) -> None:
    whole = file.read_bytes()
    rewritten(file, whole[: int(share * len(whole))])
    assert "mine.npz: not weights of this version of dfp" in refused(file)


def test_an_array_of_something_else_is_refused(file: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.zeros(3))
    np.save(tmp_path / "x.npy", np.zeros(3))
    for other in ("x.npz", "x.npy"):
        rewritten(file, (tmp_path / other).read_bytes())
        assert "not weights" in refused(file)


def test_a_pickle_is_never_opened(file: Path, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (tmp_path / "sprung",)  # type: ignore[return-value]

    rewritten(file, pickle.dumps(Trap()))
    assert "not weights" in refused(file)
    with np.load(Path(weights.save(random_network(1), FACTS, file) or file)) as whole:
        arrays = dict(whole)
    np.savez(tmp_path / "trap.npz", **{**arrays, "steps": np.array([Trap()], dtype=object)})
    rewritten(file, (tmp_path / "trap.npz").read_bytes())
    assert "not weights" in refused(file)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    "changed",
    [
        {"hidden": 9},
        {"kernels": [3]},
        {"channels": "many"},
        {"unheard": 1},
        {"components": -1},
        {"basis": 1.5},
    ],
)
def test_sizes_that_are_not_the_arrays_are_refused(file: Path, changed: dict[str, object]) -> None:
    with np.load(file) as whole:
        arrays = dict(whole)
    sizes = {**json.loads(str(arrays["sizes"])), **changed}
    arrays["sizes"] = np.array(json.dumps(sizes))
    np.savez(file.with_name("other.npz"), **arrays)
    rewritten(file, file.with_name("other.npz").read_bytes())
    assert "not weights of this version" in refused(file)


def test_a_missing_or_surplus_array_is_refused(file: Path) -> None:
    with np.load(file) as whole:
        arrays = dict(whole)
    for changed in ({**arrays, "more": np.zeros(2)}, {k: v for k, v in arrays.items() if k != "steps"}):
        np.savez(file.with_name("other.npz"), **changed)
        rewritten(file, file.with_name("other.npz").read_bytes())
        assert "not weights of this version" in refused(file)


def test_one_line_says_what_weights_are(file: Path) -> None:
    _, facts = weights.load(file)
    assert weights.describe(facts) == (
        f"SHA-256 {facts['sha256'][:12]}; learned from simulated cells; dfp 0.1.0, commit abc, 2026-01-02"
    )
    # what the weights learned that these started from counts too
    start = {"weights": "cells", "data_sets": [{"data_set": "DS09"}], "sha256": "0"}
    own = {**facts, "data_sets": [{"data_set": "DS91"}], "start": start, "changed": True}
    assert "learned from simulated cells (DS09, DS91); from cells on; " in weights.describe(own)
    assert "commit abc with changes" in weights.describe(own)
