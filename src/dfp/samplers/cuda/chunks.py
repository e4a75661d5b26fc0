"""Hard samples by fixed-point sweeps of chunks of 64 bins, each swept on chip until it is still."""

from __future__ import annotations

import triton
import triton.language as tl

#: bins of a chunk: the spikes of a cell in it are the bits of one word
CHUNK = 64


@triton.jit
def sweep_chunks(
    drive: tl.tensor,  # (S or 1, B, T, N)
    noise: tl.tensor,  # (S, B, T, N)
    own: tl.tensor,  # (L, N), float64, on a grid
    dense: tl.tensor,  # (L', N from, N to), float64, on the same grid
    old: tl.tensor,  # (S·B, C, N) int64: spikes of a chunk after the last launch, bin 0 the lowest bit
    new: tl.tensor,  # (S·B, C, N) int64, written: and after this one
    seen: tl.tensor,  # (S·B, C, N) int64: the word of the chunk before, as a chunk was last swept with it
    draft: tl.tensor,  # (S·B, C, N) int64: words between sweeps, for the other threads of a program
    z: tl.tensor,  # (S, B, T, N), written
    logits: tl.tensor,  # (S, B, T, N), written
    changed: tl.tensor,  # (1,) int32: words that changed are counted here
    trials: tl.tensor,
    bins: tl.tensor,
    cells: tl.tensor,
    chunks: tl.tensor,  # C
    span: tl.tensor,  # chunks that a program goes through
    drive_stride: tl.tensor,
    first: tl.tensor,  # 1 in the first launch, in which every chunk is swept
    LAGS: tl.constexpr,  # at most 64
    DENSE_LAGS: tl.constexpr,  # at most 64; 0: no coupling
    BLOCK: tl.constexpr,  # at least N where cells are coupled
) -> None:
    """Sweep ``span`` chunks of a chain's block of cells, each only where its left edge has changed.

    What a chunk is left with solves it for that edge, so that a launch in which no word changed proves the
    whole. Programs read nothing that others write in the same launch.
    """
    spans = tl.cdiv(chunks, span)
    program = tl.program_id(0).to(tl.int64)
    chain = program // spans
    start = ((program % spans) * span).to(tl.int32)
    cell = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    there = cell < cells
    place = tl.arange(0, 64).to(tl.uint64)[:, None]
    left = (chain * chunks + start - 1) * cells + cell
    edge = tl.load(old + left, mask=there & (left >= chain * chunks * cells), other=0).to(
        tl.uint64, bitcast=True
    )
    flips = 0
    for step in range(0, tl.minimum(span, chunks - start)):
        chunk = start + step
        base = (chain * chunks + chunk) * cells
        was = tl.load(old + base + cell, mask=there, other=0).to(tl.uint64, bitcast=True)
        last = tl.load(seen + base + cell, mask=there, other=0).to(tl.uint64, bitcast=True)
        word = was
        if tl.sum((edge != last).to(tl.int32), 0) + first > 0:
            tl.debug_barrier()  # every thread has read what is overwritten here
            tl.store(seen + base + cell, edge.to(tl.int64, bitcast=True), mask=there)
            place_in_time = chunk * 64 + tl.arange(0, 64)[:, None]
            inside = (place_in_time < bins) & there[None, :]
            at = (chain * bins + place_in_time) * cells + cell[None, :]
            trial = ((chain % trials) * bins + place_in_time) * cells + cell[None, :]
            given = tl.load(drive + (chain // trials) * drive_stride + trial, mask=inside, other=0.0)
            heard = tl.load(noise + at, mask=inside, other=0.0)
            u = heard
            moved = 1
            while moved > 0:
                past = _past(word[None, :], edge[None, :], place)
                total = tl.zeros([64, BLOCK], tl.float64)
                for lag in range(LAGS):
                    tap = tl.load(own + lag * cells + cell, mask=there, other=0.0)[None, :]
                    total += tl.where((past >> (63 - lag)) & 1 != 0, tap, 0.0)
                if DENSE_LAGS > 0:
                    tl.store(draft + base + cell, word.to(tl.int64, bitcast=True), mask=there)
                    tl.debug_barrier()  # the words and the edge are there for every thread
                    for source in range(cells):
                        now = tl.load(draft + base + source).to(tl.uint64, bitcast=True)
                        then = tl.load(seen + base + source).to(tl.uint64, bitcast=True)
                        if (now | then) != 0:
                            trail = _past(now, then, place)
                            for lag in range(DENSE_LAGS):
                                to = dense + (lag * cells + source) * cells + cell
                                tap = tl.load(to, mask=there, other=0.0)[None, :]
                                total += tl.where((trail >> (63 - lag)) & 1 != 0, tap, 0.0)
                    tl.debug_barrier()  # every thread has read the words
                u = (given.to(tl.float64) + total).to(heard.dtype)
                spike = ((u + heard) > 0) & inside
                swept = tl.sum(spike.to(tl.uint64) << place, 0)
                moved = tl.sum((swept != word).to(tl.int32), 0)
                word = swept
            fired = ((word[None, :] >> place) & 1).to(z.dtype.element_ty)
            tl.store(logits + at, u, mask=inside)
            tl.store(z + at, fired, mask=inside)
            flips += tl.sum((word != was).to(tl.int32), 0)
        tl.store(new + base + cell, word.to(tl.int64, bitcast=True), mask=there)
        edge = word
    tl.atomic_add(changed, flips)


@triton.jit
def _past(word: tl.tensor, edge: tl.tensor, place: tl.tensor) -> tl.tensor:
    """The 64 bins before bin ``place`` of a chunk: bit 64 − τ is the spike τ bins ago."""
    return ((word << (63 - place)) << 1) | (edge >> place)
