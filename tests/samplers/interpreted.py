"""What the fused kernels give, held against the numba loops by a process of its own.

    TRITON_INTERPRET=1 python tests/samplers/interpreted.py hard     # or chain, relaxed: on the CPU
    python tests/samplers/interpreted.py compiled                    # machine code for GPUs, run by none

``test_cuda.py`` runs it: whether kernels are interpreted is decided when Triton is imported.
"""

from __future__ import annotations

import sys
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from cases import normal, process

from dfp.core.noise import generator, logistic_noise
from dfp.distributions.causal_bernoulli import CausalBernoulli
from dfp.samplers.bins import hard
from dfp.samplers.grid import linear_taps
from dfp.samplers.recursion import Recursion

KINDS = ("own_history", "coupled", "both")
#: samples, trials, bins, cells, lags, strength, dtype: about a chunk's 64 bins, a block's 32 cells, a word's
#: 64 lags
SIZES: tuple[tuple[int, int, int, int, int, float, torch.dtype], ...] = (
    (1, 1, 1, 1, 1, 1.0, torch.float64),
    (2, 1, 64, 2, 3, 3.0, torch.float64),
    (1, 2, 65, 33, 5, 1.5, torch.float32),
    (2, 2, 130, 3, 20, 0.5, torch.float32),
    (1, 1, 70, 2, 64, 0.4, torch.float64),
    (1, 1, 129, 1, 2, 4.0, torch.float32),
)


def case(kind: str, number: int) -> tuple[Recursion, Tensor]:
    """A random process of one size, with a drive for each sample every other time."""
    samples, trials, bins, cells, lags, strength, dtype = SIZES[number % len(SIZES)]
    if kind != "own_history":  # an interpreted coupling takes a second a cell
        cells, lags = min(cells, 4), min(lags, 6)
    rng = generator(number)
    q = process("all_terms" if kind == "both" else kind, number, trials, bins, cells, strength, lags, dtype)
    q = CausalBernoulli(q.drive, q.terms[:2])
    if number % 2:
        q = q.with_drive(normal(rng, samples, trials, bins, cells, dtype=dtype))
    recursion = q.recursion()
    assert recursion is not None
    return recursion, logistic_noise((samples, trials, bins, cells), rng, dtype)


def check_hard() -> int:
    """Every path gives the bits of the numba loop: sequential, one launch, launches until nothing changes."""
    from dfp.samplers.cuda import launch

    spikes = most = 0
    for kind, number in product(KINDS, range(len(SIZES))):
        recursion, noise = case(kind, number)
        taps = linear_taps(recursion)
        z, logits = hard(recursion, noise)
        found: list[tuple[Any, ...]] = [launch.sequential(noise, recursion.drive, *taps)]
        found += [launch.chunked(noise, recursion.drive, *taps, span=span) for span in (1, 2, 100)]
        for path in found:
            assert path[0].dtype == noise.dtype
            assert torch.equal(path[0], z) and torch.equal(path[1], logits), (kind, number)
        assert found[-1][2] == 1
        spikes, most = spikes + int(z.sum()), max(most, found[1][2])
    assert spikes > 500 and most >= 3, "the cases are too easy to tell"
    return most


def check_chain() -> int:
    """A spike that makes the next, and so on: an edge that changes at every launch. And a long memory."""
    from dfp.samplers.cuda import launch

    bins = 64 * 3 + 5
    drive = torch.full((1, bins, 1), -10.0)
    drive[0, 0] = 10.0
    own, dense = torch.full((1, 1), 20.0, dtype=torch.float64), torch.zeros(0, 1, 1, dtype=torch.float64)
    z, _, launches = launch.chunked(torch.zeros(1, 1, bins, 1), drive, own, dense, span=1)
    assert z.all() and launches == 5
    recursion, noise = case("own_history", 2)
    rng = generator(3)
    long = Recursion(
        recursion.drive, 0.5 * normal(rng, noise.shape[-1], 70), recursion.weights, recursion.basis
    )
    found, expected = launch.sequential(noise, long.drive, *linear_taps(long)), hard(long, noise)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(found, expected, strict=True))
    return launches


def check_relaxed() -> int:
    """Values, logits and all three of the adjoint's parts, to rounding; sums are in another order."""
    from dfp.samplers.cuda import launch, ops

    compared = 0
    for number, (kind, warmth, heard) in enumerate(product(KINDS, (0.5, 0.0), (True, False))):
        recursion, noise = case(kind, number)
        noise = noise[:, :, :40].double()
        drive, *weights = (tensor.detach().double() for tensor in recursion.tensors)
        drive = drive[..., :40, :]
        temperature = torch.full((noise.shape[-1],), warmth, dtype=torch.float64)
        given = (noise, drive, *weights, temperature, heard)
        ours, theirs = launch.relaxed(*given), ops.relaxed_bins(*given)
        rng = generator(number)
        upstream = [normal(rng, *noise.shape) for _ in range(2)]
        slope = 0.2 * torch.rand(noise.shape, generator=rng, dtype=torch.float64)
        back = (*upstream, slope, theirs[0], *weights)
        pairs = [*zip(ours, theirs, strict=True)]
        pairs += [*zip(launch.adjoint(*back), ops.adjoint_bins(*back), strict=True)]
        for one, other in pairs:
            scale = max(float(other.abs().max()), 1.0) if other.numel() else 1.0
            assert one.shape == other.shape and torch.allclose(one, other, rtol=1e-9, atol=1e-11 * scale)
            compared += one.numel()
    return compared


def check_compiled() -> int:
    """Machine code for an A100 and an H100 or H200, of sizes that are known only at run time and of ones;
    hard kernels hold no fused or flushed arithmetic, which could change a bit.
    """
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    made = 0
    for capability, precision, ones in product((80, 90), ("fp32", "fp64"), (False, True)):
        for kernel, constants, warps, exact in kernels():
            types = pointers(precision, exact)
            fixed = dict(constants)
            if ones:  # Triton takes an argument that is 1 for a constant
                fixed |= {name: 1 for name in kernel.arg_names if name not in fixed | types}
            signature = {
                name: "constexpr" if name in fixed else types.get(name, "i32") for name in kernel.arg_names
            }
            source = ASTSource(fn=kernel, signature=signature, constexprs=fixed)
            code = triton.compile(
                source, target=GPUTarget("cuda", capability, 32), options={"num_warps": warps}
            ).asm
            assert len(code["cubin"]) > 0
            if exact:
                assert "fma.rn.f" not in code["ptx"] and ".ftz" not in code["ptx"]
            made += 1
    return made


def kernels() -> list[tuple[Any, dict[str, Any], int, bool]]:
    """Kernels, their constants, their warps, and whether their bits count."""
    from dfp.samplers.cuda.chunks import sweep_chunks
    from dfp.samplers.cuda.hard import coupled_bins, own_bins
    from dfp.samplers.cuda.relaxed import adjoint_bins, relaxed_bins

    alone = {"LAGS": 20, "BASES": 0, "BASIS_LAGS": 0, "ROWS": 32, "BLOCK": 32}
    coupled = {"LAGS": 20, "BASES": 2, "BASIS_LAGS": 5, "ROWS": 32, "BLOCK": 128}
    return [
        (own_bins, {"LAGS": 20, "ROWS": 32, "BLOCK": 32, "STAGES": 8}, 1, True),
        (coupled_bins, {"LAGS": 80, "DENSE_LAGS": 0, "ROWS": 128, "BLOCK": 32}, 4, True),
        (coupled_bins, {"LAGS": 20, "DENSE_LAGS": 5, "ROWS": 32, "BLOCK": 128}, 4, True),
        (sweep_chunks, {"LAGS": 20, "DENSE_LAGS": 0, "BLOCK": 32}, 4, True),
        (sweep_chunks, {"LAGS": 20, "DENSE_LAGS": 5, "BLOCK": 128}, 8, True),
        (relaxed_bins, {**alone, "HEARD": True}, 1, False),
        (relaxed_bins, {**coupled, "HEARD": False}, 8, False),
        (adjoint_bins, alone, 1, False),
        (adjoint_bins, coupled, 8, False),
    ]


def pointers(precision: str, exact: bool) -> dict[str, str]:
    """Types of the arguments that are tensors."""
    taps = ("own", "dense", "ahead")
    values = ("drive", "noise", "z", "logits", "weights", "basis", "temperature")
    values += ("grad_z", "grad_logits", "slope", "adjoint", "sent", "grad_own")
    words = {name: "*i64" for name in ("old", "new", "seen", "draft")} | {"changed": "*i32"}
    inner = {name: "*fp64" if exact else f"*{precision}" for name in taps}
    return {name: f"*{precision}" for name in values} | inner | words


CHECKS = {"hard": check_hard, "chain": check_chain, "relaxed": check_relaxed, "compiled": check_compiled}

if __name__ == "__main__":
    print("found", CHECKS[sys.argv[1]]())
