"""The recognition network by blocks: the plain network's values and gradients."""

from __future__ import annotations

import pytest
import torch
from cases import shake, traces
from torch import Tensor

import dfp.posteriors.blocked as blocked
import dfp.posteriors.recognition as recognition
from dfp.core.noise import generator
from dfp.posteriors.base import TraceSummary
from dfp.posteriors.recognition import Recognition, RecognitionConfig


def network(cells: int, channels: int, dtype: torch.dtype = torch.float64) -> Recognition:
    summary = TraceSummary(cells, torch.linspace(-0.2, 0.3, cells), torch.linspace(0.5, 0.9, cells))
    config = RecognitionConfig(window=3, hidden=5, cross_channels=channels, blocked=True)
    made = Recognition(config, summary, generator(0)).to(dtype)
    shake(made, 1)
    return made


def found(made: Recognition, x: Tensor, use: str) -> tuple[list[Tensor], list[Tensor]]:
    """Values, and the gradients of every weight through the logits, the features or both."""
    made.zero_grad()
    drive, features = made(x)
    loss = sum(
        value.sin().mean() for name, value in (("drive", drive), ("features", features)) if name in use
    )
    loss.backward()
    return [drive.detach(), features.detach()], [
        torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in made.parameters()
    ]


@pytest.mark.parametrize("use", ["drive", "features", "drive features"])
@pytest.mark.parametrize("channels", [0, 2])
@pytest.mark.parametrize("rows", [3, 24, 50, 10_000])
def test_blocks_give_the_plain_networks_values_and_gradients(
    monkeypatch: pytest.MonkeyPatch, use: str, channels: int, rows: int
) -> None:
    """Blocks of a bin, of a part of a trial (a shorter one at its end), of several trials, of all."""
    made, x = network(3, channels), traces(0, trials=5, bins=7, cells=3)
    x[1, 2, 0] = torch.nan
    monkeypatch.setattr(recognition, "ROWS", 10**6)
    plain = found(made, x, use)
    monkeypatch.setattr(recognition, "ROWS", 0)
    monkeypatch.setattr(blocked, "ROWS", rows)
    blocks = found(made, x, use)
    for one, other in zip((*plain[0], *plain[1]), (*blocks[0], *blocks[1]), strict=True):
        assert torch.allclose(one, other, rtol=1e-10, atol=1e-13)
    assert sum(float(grad.abs().sum()) for grad in plain[1]) > 0
    assert torch.allclose(made.logits(x), plain[0][0], rtol=1e-10, atol=1e-13)
    with torch.no_grad():
        for value, other in ((made.logits(x), 0), (made(x)[0], 0), (made(x)[1], 1)):
            assert torch.allclose(value, plain[0][other], rtol=1e-10, atol=1e-13)


def test_blocks_cover_every_row_once_and_in_order() -> None:
    for trials, bins, cells in ((5, 7, 3), (2, 9000, 1), (1, 3, 9000), (40, 300, 1)):
        parts = list(blocked._blocks(trials, bins, cells))
        ends = [0, *(part.rows.stop for part in parts)]
        assert [part.rows.start for part in parts] == ends[:-1] and ends[-1] == trials * bins * cells
        for part in parts:
            size = part.trials.stop - part.trials.start
            assert (part.rows.stop - part.rows.start) == size * (part.bins.stop - part.bins.start) * cells
            assert size == 1 or part.bins == slice(0, bins), "several trials are whole ones"


def test_a_large_batch_goes_by_blocks_and_single_precision_agrees(monkeypatch: pytest.MonkeyPatch) -> None:
    made, x = network(20, 4, torch.float32), traces(1, trials=4, bins=300, cells=20).float()
    calls = []
    original = recognition.blocked
    monkeypatch.setattr(recognition, "blocked", lambda *given: calls.append(1) or original(*given))
    blocks = found(made, x, "drive")
    assert calls == [1]
    monkeypatch.setattr(recognition, "ROWS", 10**6)
    plain = found(made, x, "drive")
    assert torch.allclose(blocks[0][0], plain[0][0], atol=2e-6)
    for one, other in zip(blocks[1], plain[1], strict=True):
        assert float((one - other).norm()) <= 3e-5 * float(other.norm()) + 1e-9


def test_a_trace_with_a_gradient_takes_the_plain_network() -> None:
    made, x = network(3, 2), traces(2, trials=2, bins=6, cells=3).requires_grad_()
    made(x)[0].sum().backward()
    assert x.grad is not None and float(x.grad.abs().sum()) > 0
