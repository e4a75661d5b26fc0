"""The layers of the shared recognition network, a block of bins at a time.

What a block needs stays in the cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

#: rows (trials × bins × cells) of a block: 32 hidden units in single precision are a megabyte
ROWS = 8192


@dataclass(frozen=True)
class Layers:
    """Weights of two hidden layers and the readout, F inputs and H units.

    Attributes:
        first, first_bias: ``(F, H)``, ``(H,)``.
        second, second_bias: ``(H, H)``, ``(H,)``.
        readout: ``(H,)``.
        cross_in, cross_mix, cross_out: ``(H, C)``, ``(C, N, N)`` from cell i to cell j, ``(C, H)``; None
            where cells do not see each other.
    """

    first: Tensor
    first_bias: Tensor
    second: Tensor
    second_bias: Tensor
    readout: Tensor
    cross_in: Tensor | None = None
    cross_mix: Tensor | None = None
    cross_out: Tensor | None = None


def blocked(
    padded: Tensor, ends: Tensor, layers: Layers, features: bool = True
) -> tuple[Tensor, Tensor | None]:
    """``h₁ = relu(A y + a)``, ``h₂ = relu(B h₁ + C Σ_j M_j h₁(cell j) + b)``, ``g = c h₂``.

    The plain network makes a pass through memory for every operation, and at hundreds of cells these cost as
    much as its arithmetic. Here a block is carried through all layers before the next, and back again in the
    backward pass; windows are cut anew for each, so that they are never held as a whole. The same sums, in
    another order: values and gradients agree with the plain network's to rounding. Differentiable once, in
    the weights.

    Args:
        padded: standardised traces with w bins more on each side, time last: ``(B, N, T + 2w)``.
        ends: further inputs of a bin, ``(T, 2)``.
        features: whether h₂ is asked for. Without it, and without a gradient, no more than a block is held.

    Returns:
        g ``(B, T, N)`` and h₂ ``(B, T, N, H)``, or None.
    """
    outward = layers.second_bias[None]
    if layers.cross_out is not None:
        outward = torch.cat([layers.cross_out, outward])
    inward = None if layers.cross_in is None else layers.cross_in.t().contiguous()
    first = torch.cat([layers.first, layers.first_bias[None]])
    weights = (first, layers.second, layers.readout, inward, layers.cross_mix, outward)
    keep = torch.is_grad_enabled() and any(weight.requires_grad for weight in weights if weight is not None)
    found: tuple[Tensor, Tensor | None] = _Blocked.apply(padded, ends, *weights, keep, features)
    return found


@dataclass(frozen=True)
class _Block:
    """Trials ``trials`` and bins ``bins`` of the batch: the rows ``rows``."""

    trials: slice
    bins: slice
    rows: slice


def _blocks(trials: int, bins: int, cells: int) -> Iterator[_Block]:
    """Several whole trials, or a part of one, at a time."""
    several = max(1, ROWS // (bins * cells))
    width = bins if bins * cells <= ROWS else max(1, ROWS // cells)
    for trial in range(0, trials, several):
        last = min(trials, trial + several)
        for start in range(0, bins, width):
            end = min(bins, start + width)
            first = (trial * bins + start) * cells
            count = (last - trial) * (end - start) * cells
            yield _Block(slice(trial, last), slice(start, end), slice(first, first + count))


def _inputs(padded: Tensor, ends: Tensor, block: _Block) -> Tensor:
    """Rows ``(trials · bins · cells, 2w + 4)``: windows of the trace, the ends, and 1 for the bias."""
    window = padded.shape[2] - ends.shape[0] + 1
    cut = padded[block.trials].unfold(2, window, 1)[:, :, block.bins].transpose(1, 2)
    rows = padded.new_empty(*cut.shape[:3], window + 3)
    rows[..., :window] = cut
    rows[..., window:-1] = ends[block.bins, None]
    rows[..., -1] = 1.0
    return rows.flatten(0, 2)


class _Blocked(torch.autograd.Function):
    """The layers as one function, with a backward pass of its own.

    Biases are the last rows of ``first`` and of ``outward``, the weights of other cells' words: on a CPU a
    further term of a sum costs less than spreading a bias over the rows.
    """

    @staticmethod
    def forward(
        ctx: Any, padded: Tensor, ends: Tensor, first: Tensor, second: Tensor, readout: Tensor,
        inward: Tensor | None, mix: Tensor | None, outward: Tensor, keep: bool, features: bool,
    ) -> tuple[Tensor, Tensor | None]:  # fmt: skip
        trials, cells, bins = padded.shape[0], padded.shape[1], ends.shape[0]
        blocks = list(_blocks(trials, bins, cells))
        rows, units = trials * bins * cells, first.shape[1]
        largest = max(block.rows.stop - block.rows.start for block in blocks)
        hidden = padded.new_empty(rows if keep else largest, units)
        above = padded.new_empty(rows if keep or features else largest, units)
        own, mixed = padded.new_ones(2, outward.shape[0], rows if keep else largest)
        readings = padded.new_empty(rows)
        for block in blocks:
            within = block.rows if keep else slice(0, block.rows.stop - block.rows.start)
            below, top = hidden[within], above[block.rows if keep or features else within]
            torch.mm(_inputs(padded, ends, block), first, out=below).relu_()
            torch.mm(below, second, out=top)
            if inward is not None and mix is not None:
                said = torch.mm(inward, below.t(), out=own[:-1, within])
                mixed[:-1, within] = torch.bmm(_by_cell(said, cells), mix).flatten(1)
            top.addmm_(mixed[:, within].t(), outward).relu_()
            torch.mv(top, readout, out=readings[block.rows])
        if keep:
            ctx.save_for_backward(
                padded, ends, first, second, readout, inward, mix, outward, hidden, above, own, mixed
            )
        ctx.set_materialize_grads(False)
        given = above.view(trials, bins, cells, units) if features else None
        return readings.view(trials, bins, cells), given

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, from_drive: Tensor | None, from_features: Tensor | None) -> tuple[Any, ...]:
        padded, ends, first, second, readout, inward, mix, outward, hidden, above, own, mixed = (
            ctx.saved_tensors
        )
        trials, cells, bins = padded.shape[0], padded.shape[1], ends.shape[0]
        of_first, of_second, of_readout, of_outward = (
            torch.zeros_like(weight) for weight in (first, second, readout, outward)
        )
        if mix is not None:
            of_inward, of_mix = torch.zeros_like(inward), torch.zeros_like(mix)
        drive = None if from_drive is None else from_drive.reshape(-1)
        features = None if from_features is None else from_features.reshape(above.shape)
        for block in _blocks(trials, bins, cells):
            below, top = hidden[block.rows], above[block.rows]
            if drive is not None:
                of_readout.addmv_(top.t(), drive[block.rows])
            grad = _masked(_arriving(drive, features, readout, block), top)
            of_second.addmm_(below.t(), grad)
            of_outward.addmm_(mixed[:, block.rows], grad)
            down = torch.mm(grad, second.t())
            if mix is not None:
                back = _by_cell(torch.mm(outward[:-1], grad.t()), cells)
                of_mix.baddbmm_(_by_cell(own[:-1, block.rows], cells).transpose(1, 2), back)
                said = torch.bmm(back, mix.transpose(1, 2)).flatten(1)
                of_inward.addmm_(said, below)
                down.addmm_(said.t(), inward)
            of_first.addmm_(_inputs(padded, ends, block).t(), _masked(down, below))
        crossed = (None, None) if mix is None else (of_inward, of_mix)
        return None, None, of_first, of_second, of_readout, *crossed, of_outward, None, None


def _by_cell(rows: Tensor, cells: int) -> Tensor:
    """``(C, rows)`` as ``(C, trials · bins, N)``."""
    return rows.unflatten(1, (-1, cells))


def _arriving(drive: Tensor | None, features: Tensor | None, readout: Tensor, block: _Block) -> Tensor:
    """Gradient of a block's h₂, through the readout and as features; a tensor of its own."""
    if drive is None:
        assert features is not None
        return features[block.rows].clone()
    through = torch.outer(drive[block.rows], readout)
    return through if features is None else through.add_(features[block.rows])


def _masked(grad: Tensor, values: Tensor) -> Tensor:
    """``grad`` where a ReLU's values are above 0, else 0; in place."""
    masked: Tensor = torch.ops.aten.threshold_backward.grad_input(grad, values, 0, grad_input=grad)
    return masked
