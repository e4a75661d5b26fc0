"""Hard samples by fixed-point sweeps of chunks of 64 bins, each swept on chip until it is still."""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl

#: bins of a chunk: the spikes of a cell in it are the bits of one word
CHUNK = 64


@triton.jit
def sweep_chunks(
    drive: Any,  # (S or 1, B, T, N)
    noise: Any,  # (S, B, T, N)
    own: Any,  # (L, N), float64, on a grid
    dense: Any,  # (L', N from, N to), float64, on the same grid
    words: Any,  # (S·B, C, N) int64: spikes of a chunk, bin 0 the lowest bit; read and written
    seen: Any,  # (S·B, C, N) int64: the word of the chunk before with which a chunk was last swept
    draft: Any,  # (S·B, C, N) int64: where a program whose cells are coupled lays its words while it sweeps
    z: Any,  # (S, B, T, N), written
    logits: Any,  # (S, B, T, N), written
    changed: Any,  # (1,) int32: words that changed are counted here
    trials: Any,
    bins: Any,
    cells: Any,
    chunks: Any,  # C
    span: Any,  # chunks that a program goes through
    drive_stride: Any,
    first: Any,  # 1 in the first launch, in which every chunk is swept
    LAGS: tl.constexpr,  # at most 64
    DENSE_LAGS: tl.constexpr,  # at most 64; 0: no coupling
    BLOCK: tl.constexpr,  # at least N where cells are coupled
) -> None:
    """``span`` chunks of a chain's block of cells, each swept only where its left edge is not the one it was
    last swept with. What a chunk is left with solves it for that edge, so that a launch in which no word
    changed proves the whole.
    """
    spans = tl.cdiv(chunks, span)
    program = tl.program_id(0).to(tl.int64)
    chain = program // spans
    start = ((program % spans) * span).to(tl.int32)
    cell = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    there = cell < cells
    place = tl.arange(0, 64).to(tl.uint64)[:, None]
    second = (chain * chunks + 1) * cells  # where the chain's second chunk begins: the first has no edge
    flips = 0
    for step in range(0, tl.minimum(span, chunks - start)):
        chunk = start + step
        mine = (chain * chunks + chunk) * cells + cell
        edge = tl.load(words + mine - cells, mask=there & (mine >= second), other=0)
        stale = tl.sum((edge != tl.load(seen + mine, mask=there, other=0)).to(tl.int32), 0) + first
        if stale > 0:
            tl.store(seen + mine, edge, mask=there)
            before = edge.to(tl.uint64, bitcast=True)[None, :]
            old = tl.load(words + mine, mask=there, other=0).to(tl.uint64, bitcast=True)
            bin_ = chunk * 64 + tl.arange(0, 64)[:, None]
            inside = (bin_ < bins) & there[None, :]
            at = (chain * bins + bin_) * cells + cell[None, :]
            given = (chain // trials) * drive_stride + ((chain % trials) * bins + bin_) * cells + cell[None, :]
            given_logits = tl.load(drive + given, mask=inside, other=0.0).to(tl.float64)
            heard = tl.load(noise + at, mask=inside, other=0.0)
            word = old
            u = tl.zeros([64, BLOCK], logits.dtype.element_ty)
            spike = inside
            moved = 1
            while moved > 0:
                # bit 64 − τ is the spike τ bins ago
                past = ((word[None, :] << (63 - place)) << 1) | (before >> place)
                total = tl.zeros([64, BLOCK], tl.float64)
                for lag in range(LAGS):
                    tap = tl.load(own + lag * cells + cell, mask=there, other=0.0)[None, :]
                    total += tl.where((past >> (63 - lag)) & 1 != 0, tap, 0.0)
                if DENSE_LAGS > 0:
                    tl.store(draft + mine, word.to(tl.int64, bitcast=True), mask=there)
                    tl.debug_barrier()  # the words and the edge, for all threads
                    base = (chain * chunks + chunk) * cells
                    for source in range(cells):
                        now = tl.load(draft + base + source).to(tl.uint64, bitcast=True)
                        then = tl.load(seen + base + source).to(tl.uint64, bitcast=True)
                        if (now | then) != 0:
                            trail = ((now << (63 - place)) << 1) | (then >> place)
                            for lag in range(DENSE_LAGS):
                                to = dense + (lag * cells + source) * cells + cell
                                tap = tl.load(to, mask=there, other=0.0)[None, :]
                                total += tl.where((trail >> (63 - lag)) & 1 != 0, tap, 0.0)
                    tl.debug_barrier()  # before the words are overwritten
                u = (given_logits + total).to(logits.dtype.element_ty)
                spike = ((u + heard) > 0) & inside
                new = tl.sum(spike.to(tl.uint64) << place, 0)
                moved = tl.sum((new != word).to(tl.int32), 0)
                word = new
            tl.store(words + mine, word.to(tl.int64, bitcast=True), mask=there)
            tl.store(logits + at, u, mask=inside)
            tl.store(z + at, spike.to(z.dtype.element_ty), mask=inside)
            flips += tl.sum((word != old).to(tl.int32), 0)
            tl.debug_barrier()  # the next chunk reads this one's words
    tl.atomic_add(changed, flips)
