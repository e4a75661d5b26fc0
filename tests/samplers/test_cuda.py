"""The fused samplers: their operators on the CPU, their kernels by Triton's interpreter, and on a GPU where
there is one.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from cases import leaves, normal, process
from torch import Tensor

from dfp.core.noise import generator, logistic_noise
from dfp.distributions.causal_bernoulli import CausalBernoulli
from dfp.samplers.bins import hard
from dfp.samplers.compiled import Compiled
from dfp.samplers.cuda import ops
from dfp.samplers.cuda.draw import can_fuse, fused
from dfp.samplers.grid import linear_taps
from dfp.samplers.recursion import Recursion
from dfp.samplers.relaxations import Concrete, Hard, MeanField, Relaxation, StraightThrough
from dfp.samplers.sequential import Sequential

ROOT = Path(__file__).resolve().parent.parent.parent
RELAXED = (Concrete(0.5), MeanField(), StraightThrough("literal"), StraightThrough("sigma"))
needs_triton = pytest.mark.skipif(find_spec("triton") is None, reason="needs Triton (pip install triton)")
needs_gpu = pytest.mark.skipif(
    not torch.cuda.is_available() or find_spec("triton") is None, reason="needs a CUDA device"
)


def case(
    number: int, cells: int = 3, bins: int = 14, dtype: torch.dtype = torch.float64
) -> tuple[CausalBernoulli, Tensor]:
    """Own history, coupling, or both, in turn."""
    kind = ("own_history", "coupled", "all_terms")[number % 3]
    q = process(kind, number, 2, bins, cells, 0.5 + number % 4, 4, dtype)
    q = CausalBernoulli(q.drive, q.terms[:2])
    return q, logistic_noise((3, 2, bins, cells), generator(number), dtype)


def recursion_of(q: CausalBernoulli) -> Recursion:
    found = q.recursion()
    assert found is not None
    return found


# ---------------------------------------------------------------- the grid


def test_own_and_coupling_taps_add_up_in_every_order() -> None:
    """Terms of very different sizes, of which a logit sums both."""
    rng = generator(0)
    for _ in range(100):
        weights, basis = 0.01 * normal(rng, 2, 3, 3), torch.rand(2, 4, generator=rng, dtype=torch.float64)
        taps = linear_taps(Recursion(torch.zeros(1, 9, 3), 3 * normal(rng, 3, 5), weights, basis))
        every = torch.cat([taps[0][0], taps[1][:, :, 0].flatten()])
        sums = {sum(every[torch.randperm(len(every), generator=rng)].tolist()) for _ in range(8)}
        assert len(sums) == 1


# ---------------------------------------------------------------- operators, on the CPU


def test_the_operator_gives_the_bits_of_the_compiled_sampler() -> None:
    for number in range(60):
        q, noise = case(number, dtype=torch.float32 if number % 2 else torch.float64)
        found, expected = fused(recursion_of(q), noise, Hard()), hard(recursion_of(q), noise)
        assert all(torch.equal(ours, theirs) for ours, theirs in zip(found, expected, strict=True))
        assert not found[0].requires_grad


@pytest.mark.parametrize("relaxation", RELAXED, ids=str)
def test_fused_gradients_are_those_of_backpropagation_through_time(relaxation: Relaxation) -> None:
    for number in range(12):
        q, noise = case(number)
        rng = generator(number)
        upstream = [normal(rng, *noise.shape) for _ in range(2)]
        expected = Sequential().draw(q, noise, relaxation)
        z, logits = fused(recursion_of(q), noise, relaxation)
        assert torch.allclose(z, expected.z, atol=1e-9) and torch.allclose(logits, expected.logits, atol=1e-8)
        pairs = [
            torch.autograd.grad((pair[0] * upstream[0] + pair[1] * upstream[1]).sum(), leaves(q))
            for pair in ((z, logits), (expected.z, expected.logits))
        ]
        scale = max(float(g.abs().max()) for g in pairs[1])
        for ours, theirs in zip(*pairs, strict=True):
            assert torch.allclose(ours, theirs, rtol=1e-9, atol=1e-9 * scale)


@pytest.mark.parametrize("coupled", [False, True])
def test_operators_tell_their_shapes(coupled: bool) -> None:
    """Torch's own checks: schemas, and that what is promised without data is what comes."""
    q, noise = case(int(coupled))
    recursion = recursion_of(q)
    drive, *weights = (tensor.detach() for tensor in recursion.tensors)
    tests = ("test_schema", "test_faketensor")
    torch.library.opcheck(ops.hard_bins, (noise, drive, *linear_taps(recursion)), test_utils=tests)
    relaxed = (noise, drive, *weights, torch.full((3,), 0.5, dtype=noise.dtype), True)
    torch.library.opcheck(ops.relaxed_bins, relaxed, test_utils=tests)
    torch.library.opcheck(ops.adjoint_bins, (noise, noise, noise, noise, *weights), test_utils=tests)


def test_what_the_kernels_do_not_know_is_left_alone() -> None:
    q, noise = case(0)
    recursion = recursion_of(q)
    assert can_fuse(recursion, noise, Hard()) and can_fuse(recursion, noise, Concrete(0.5))
    assert not can_fuse(recursion, noise.clone().requires_grad_(), Concrete(0.5))
    hidden = process("nonlinear", 1).recursion()
    assert hidden is not None and not can_fuse(hidden, noise, Hard())
    endless = Recursion(recursion.drive, torch.zeros(3, 2000), recursion.weights, recursion.basis)
    assert not can_fuse(endless, noise, Hard())


def test_without_a_gpu_nothing_imports_triton() -> None:
    """Every sampler draws, hard and relaxed; neither Triton nor what imports it is loaded by that."""
    text = """
import sys
sys.path.insert(0, "tests")
from cases import process
from dfp.config.build import samplers
from dfp.core.noise import generator
from dfp.samplers.relaxations import Concrete, Hard
q = process("own_history", 0)
for sampler in samplers().values():
    for relaxation in (Hard(), Concrete(0.5)):
        q.draw(q.noise(2, generator(0)), sampler(), relaxation).z.sum()
print([name for name in sys.modules if name.startswith(("triton", "dfp.samplers.cuda."))])
"""
    asked = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True, cwd=ROOT)
    assert asked.stdout.split("\n")[-2] == "[]"


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is there")
def test_without_a_gpu_the_benchmark_says_so() -> None:
    asked = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "cuda_samplers.py")], capture_output=True, text=True
    )
    assert asked.returncode == 2 and asked.stdout == ""
    assert asked.stderr.strip() == (
        "cuda_samplers: found no usable CUDA device, expected one (and a CUDA build of torch)."
    )


# ---------------------------------------------------------------- kernels


def asked_of(check: str, interpret: bool) -> int:
    environment = {**os.environ, "TRITON_INTERPRET": "1" if interpret else "0"}
    asked = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "samplers" / "interpreted.py"), check],
        capture_output=True, text=True, env=environment,
    )  # fmt: skip
    assert asked.returncode == 0, asked.stderr
    return int(asked.stdout.split()[-1])


@needs_triton
@pytest.mark.parametrize("check", ["hard", "chain", "relaxed"])
def test_interpreted_kernels_agree_with_the_compiled_loops(check: str) -> None:
    assert asked_of(check, interpret=True) > 0


@needs_triton
def test_kernels_compile_for_gpus() -> None:
    assert asked_of("compiled", interpret=False) == 72


@pytest.mark.gpu
@needs_gpu
def test_cuda_draws_the_bits_of_the_cpu() -> None:
    from dfp.samplers.cuda import launch

    for number in range(60):
        q, noise = case(number, 1 + number % 40, 1 + 17 * number, (torch.float32, torch.float64)[number % 2])
        here = hard(recursion_of(q), noise)
        there = Recursion(*(tensor.detach().cuda() for tensor in recursion_of(q).tensors))
        taps = linear_taps(there)
        found = [launch.sequential(noise.cuda(), there.drive, *taps)]
        found += [launch.chunked(noise.cuda(), there.drive, *taps, span=span)[:2] for span in (1, 3, 999)]
        for z, logits in [*found, fused(there, noise.cuda(), Hard())]:
            assert torch.equal(z.cpu(), here[0]) and torch.equal(logits.cpu(), here[1])


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("relaxation", RELAXED, ids=str)
def test_cuda_has_the_gradients_of_the_cpu(relaxation: Relaxation) -> None:
    for number in range(12):
        q, noise = case(number)
        here = Compiled().draw(q, noise, relaxation)
        expected = torch.autograd.grad((here.z * noise + here.logits).sum(), leaves(q))
        moved = [tensor.detach().cuda().requires_grad_() for tensor in recursion_of(q).tensors]
        z, logits = fused(Recursion(*moved), noise.cuda(), relaxation)
        assert torch.allclose(z.cpu(), here.z, atol=1e-9)
        found = torch.autograd.grad((z * noise.cuda() + logits).sum(), moved[0])[0].cpu()
        assert torch.allclose(found, expected[0], rtol=1e-9, atol=1e-9 * float(expected[0].abs().max()))
