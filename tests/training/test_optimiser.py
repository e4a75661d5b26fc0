"""Our Adam takes torch's steps, bit for bit, from one process to the next, and leaves the compiler alone."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dfp.training.optimiser import Adam


def pair(seed: int) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Two equal lists of parameters."""
    rng = torch.Generator().manual_seed(seed)
    values = [torch.randn(shape, generator=rng) for shape in ((3, 4), (5,), ())]
    return tuple([v.clone().requires_grad_() for v in values] for _ in range(2))  # type: ignore[return-value]


def push(parameters: list[torch.Tensor], seed: int, absent: int | None = None) -> None:
    """Gradients of a made-up loss; none for the parameter ``absent``."""
    rng = torch.Generator().manual_seed(seed)
    for number, p in enumerate(parameters):
        gradient = 10 * torch.randn(p.shape, generator=rng)
        p.grad = None if number == absent else gradient


@given(seed=st.integers(0, 1000), scale=st.floats(0.1, 8), absent=st.sampled_from([None, 0, 2]))
def test_steps_are_torchs(seed: int, scale: float, absent: int | None) -> None:
    ours, theirs = pair(seed)
    optimiser = Adam([(ours[:2], 1.0), (ours[2:], scale)])
    groups = [{"params": theirs[:2], "scale": 1.0}, {"params": theirs[2:], "scale": scale}]
    reference = torch.optim.Adam(groups, lr=1.0)
    for step in range(6):
        rate = 0.01 / (step + 1)
        for group in reference.param_groups:
            group["lr"] = rate * group["scale"]
        # a parameter that has no gradient for a while is left where it is
        push(ours, step, absent if step < 3 else None)
        push(theirs, step, absent if step < 3 else None)
        optimiser.step(rate)
        reference.step()
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_a_loaded_state_goes_on_as_before() -> None:
    ours, copies = pair(3)
    optimiser = Adam([(ours, 1.0)])
    for step in range(4):
        push(ours, step)
        optimiser.step(0.1)
    state = optimiser.state_dict()
    for p, value in zip(copies, ours, strict=True):
        p.data.copy_(value)
    other = Adam([(copies, 1.0)])
    other.load_state_dict(state)
    for parameters, which in ((ours, optimiser), (copies, other)):
        push(parameters, 9)
        which.step(0.1)
    assert all(torch.equal(a, b) for a, b in zip(ours, copies, strict=True))
    # the state was a copy: the steps after it left it alone
    assert {int(steps) for _, _, steps in state[0].values()} == {4}
    optimiser.zero_grad()
    assert all(p.grad is None for p in ours)


def test_a_state_of_other_groups_is_refused() -> None:
    ours, _ = pair(0)
    with pytest.raises(ValueError):
        Adam([(ours, 1.0)]).load_state_dict([])


def test_the_compiler_is_not_imported() -> None:
    """It takes longer to import than a short training takes."""
    code = (
        "import sys, torch\nfrom dfp.training.optimiser import Adam\n"
        "p = torch.zeros(2, requires_grad=True)\np.sum().backward()\nAdam([([p], 1.0)]).step(0.1)\n"
        "assert float(p.detach()[0]) < 0\nassert 'torch._dynamo' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
