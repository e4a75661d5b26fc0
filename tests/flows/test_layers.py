"""Planar and radial maps: log-determinants against 60 digits and autodiff, extremes, inverses."""

from __future__ import annotations

from collections.abc import Callable

import mpmath as mp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dfp.core.errors import UserError
from dfp.core.noise import generator
from dfp.flows.planar import planar, planar_inverse
from dfp.flows.radial import radial, radial_inverse

Layer = Callable[..., tuple[Tensor, Tensor]]
DRAWS = 5_000  # of each constraint of the planar flow, so 10,000 of it, and twice that of the radial one
DIGITS = 60
EXACT = 1e-10


def adversarial_planar(rng: np.random.Generator, draws: int, dims: int) -> list[Tensor]:
    """z, w, u, b with wᵀu of either sign from 1e-8 to 1e6 in size (and 0), ‖w‖ from 1e-12 to 1e3 (and 0),
    wᵀz + b from 1e-9 to 1e3 (and 0), mostly by cancellation of larger terms."""

    def either(low: float, high: float) -> np.ndarray:
        found = np.exp(rng.uniform(np.log(low), np.log(high), draws)) * rng.choice((-1, 1), draws)
        return np.where(rng.random(draws) < 0.02, 0.0, found)

    direction = rng.normal(size=(draws, dims))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    length = np.abs(either(1e-12, 1e3))
    w = direction * length[:, None]
    along = np.divide(either(1e-8, 1e6), length, out=either(1e-3, 1e3), where=length > 0)
    across = rng.normal(size=(draws, dims))
    across -= (across * direction).sum(1, keepdims=True) * direction
    u = along[:, None] * direction + across
    z = rng.normal(size=(draws, dims)) * np.abs(either(1e-3, 1e2))[:, None]
    b = either(1e-9, 1e3) - (w * z).sum(1)
    return [torch.as_tensor(value) for value in (z, w, u, b)]


def adversarial_radial(rng: np.random.Generator, draws: int, dims: int) -> list[Tensor]:
    """z, z₀, raw α and raw β: raw values to ±1e6, distances from the centre from 1e-200 to 1e3, and 0."""

    def raw() -> np.ndarray:
        return np.where(rng.random(draws) < 0.5, rng.normal(size=draws) * 3, rng.uniform(-1e6, 1e6, draws))

    centre = np.where(rng.random((draws, 1)) < 0.5, 0.0, rng.normal(size=(draws, dims)))
    distance = np.exp(rng.uniform(np.log(1e-200), np.log(1e3), draws)) * (rng.random(draws) < 0.95)
    z = centre + rng.normal(size=(draws, dims)) * distance[:, None]
    return [torch.as_tensor(value) for value in (z, centre, raw(), raw())]


def softplus(x: mp.mpf) -> mp.mpf:
    """Of arguments to ±1e6, whose exponentials mpmath holds (its exponents have no limit)."""
    return mp.log1p(mp.exp(x))


def exact_planar(z: list[float], w: list[float], u: list[float], b: float, constraint: str) -> mp.mpf:
    z, w, u = ([mp.mpf(value) for value in values] for values in (z, w, u))
    x, a = mp.fdot(w, u), mp.fdot(w, z) + mp.mpf(b)
    shift = mp.log(mp.e - 1) if constraint == "safe" else mp.mpf(0)
    return mp.log(mp.tanh(a) ** 2 + mp.sech(a) ** 2 * softplus(x + shift))


def exact_radial(z: list[float], centre: list[float], alpha_raw: float, beta_raw: float) -> mp.mpf:
    """With s = α + β put in by hand: where both are e^(−10⁶), their sum would need 434,000 digits. The
    formula as it was published is what autodiff sees below."""
    r = mp.sqrt(mp.fsum((mp.mpf(one) - mp.mpf(two)) ** 2 for one, two in zip(z, centre, strict=True)))
    alpha, s = softplus(mp.mpf(alpha_raw)), softplus(mp.mpf(beta_raw))
    across = (r + s) / (r + alpha)
    return (len(z) - 1) * mp.log(across) + mp.log((r * r + 2 * alpha * r + s * alpha) / (r + alpha) ** 2)


def off(found: Tensor, exact: list[mp.mpf]) -> float:
    """Largest |error|, relative to numbers above 1."""
    worst = mp.mpf(0)
    for one, other in zip(found.tolist(), exact, strict=True):
        worst = max(worst, abs(mp.mpf(one) - other) / max(1, abs(other)))
    return float(worst)


@pytest.mark.parametrize("constraint", ["source", "safe"])
def test_planar_log_determinants_are_exact_at_extremes(constraint: str) -> None:
    rng, errors = np.random.default_rng(1), []
    for dims in (2, 5):
        draws = adversarial_planar(rng, DRAWS // 2, dims)
        f, found = planar(*draws, constraint=constraint)
        assert f.isfinite().all() and found.isfinite().all()
        with mp.workdps(DIGITS):
            columns = zip(*(value.tolist() for value in draws), strict=True)
            errors.append(off(found, [exact_planar(*column, constraint) for column in columns]))
    assert max(errors) < EXACT


def test_radial_log_determinants_are_exact_at_extremes() -> None:
    rng, errors = np.random.default_rng(2), []
    for dims in (1, 2, 5):
        draws = adversarial_radial(rng, DRAWS, dims)
        f, found = radial(*draws)
        assert f.isfinite().all() and found.isfinite().all()
        with mp.workdps(DIGITS):
            columns = zip(*(value.tolist() for value in draws), strict=True)
            errors.append(off(found, [exact_radial(*column) for column in columns]))
    assert max(errors) < EXACT


def ordinary(layer: str, draws: int, dims: int, seed: int = 3) -> list[Tensor]:
    rng = generator(seed)
    sizes = [(draws, dims)] * 3 + [(draws,)] if layer == "planar" else [(draws, dims)] * 2 + [(draws,)] * 2
    return [torch.randn(size, generator=rng, dtype=torch.float64) for size in sizes]


LAYERS: dict[str, tuple[Layer, Layer, str]] = {
    "planar, safe": (planar, planar_inverse, "planar"),
    "planar, source": (
        lambda *args: planar(*args, constraint="source"),
        lambda *args: planar_inverse(*args, constraint="source"),
        "planar",
    ),
    "radial": (radial, radial_inverse, "radial"),
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("dims", [1, 2, 7])
def test_log_determinants_are_those_of_autodiff(name: str, dims: int) -> None:
    layer, _, kind = LAYERS[name]
    draws = ordinary(kind, 400, dims)
    jacobian = torch.func.vmap(torch.func.jacrev(lambda *args: layer(*args)[0]))(*draws)
    sign, size = torch.linalg.slogdet(jacobian)
    assert (sign == 1).all()
    assert (size - layer(*draws)[1]).abs().max() < EXACT


@pytest.mark.parametrize("name", LAYERS)
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    layer, inverse, kind = LAYERS[name]
    draws = [value.requires_grad_() for value in ordinary(kind, 6, 3)]
    assert torch.autograd.gradcheck(layer, draws)
    assert torch.autograd.gradcheck(inverse, draws)


def test_gradients_of_the_safe_constraint_are_smooth_where_the_formulas_meet() -> None:
    """(m(x) − x)/x changes from a series to the closed form at |x| = 0.05: value and slope must not jump."""
    x = torch.tensor([0.05 - 1e-12, 0.05 + 1e-12, -0.05 + 1e-12, -0.05 - 1e-12], dtype=torch.float64)
    w = torch.stack((torch.ones(4), torch.zeros(4)), -1).double().requires_grad_()
    u = torch.stack((x, torch.ones(4, dtype=torch.float64)), -1).requires_grad_()
    f, log_det = planar(torch.ones(4, 2, dtype=torch.float64), w, u, torch.ones(4, dtype=torch.float64))
    grads = torch.autograd.grad(f.sum() + log_det.sum(), (w, u))
    for value in (f, log_det.unsqueeze(-1), *grads):
        assert torch.allclose(value[0::2], value[1::2], atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("constraint", ["source", "safe"])
def test_everything_is_finite_to_a_million(dtype: torch.dtype, constraint: str) -> None:
    x = torch.tensor([0.0, 1.0, 20.0, 88.0, 89.0, 200.0, 1e4, 1e6], dtype=dtype)
    x = torch.cat((x, -x)).requires_grad_()
    for a in (0.0, 1e-30, 0.5, 30.0, 1e5):
        w = torch.eye(2, dtype=dtype)[0].requires_grad_()
        u = torch.stack((x, torch.ones_like(x)), -1)
        b = torch.tensor(a, dtype=dtype, requires_grad=True)
        f, log_det = planar(torch.zeros(16, 2, dtype=dtype), w, u, b, constraint)
        grads = torch.autograd.grad(f.sum() + log_det.sum(), (w, x, b))
        assert all(value.isfinite().all() for value in (f, log_det, *grads))


@given(exponent=st.floats(-45, 0), seed=st.integers(0, 10_000))
@settings(max_examples=200, deadline=None)
def test_the_safe_variant_is_finite_and_bounded_as_w_goes_to_zero(exponent: float, seed: int) -> None:
    rng = generator(seed)
    z, w, u = (torch.randn(3, generator=rng) for _ in range(3))
    w = (w * 10.0**exponent).requires_grad_()
    u.requires_grad_()
    b = torch.randn((), generator=rng).requires_grad_()
    f, log_det = planar(z, w, u, b)
    assert f.isfinite().all() and log_det.isfinite()
    assert (f - z).norm() <= 2 * u.norm() + 1e-6, "û is u with at most its part along w taken away"
    by_u, by_b = torch.autograd.grad(f.sum() + log_det, (u, b), retain_graph=True)
    assert by_u.isfinite().all() and by_b.isfinite()
    if exponent > -35:  # below, the slope of û by w, about |u| / ‖w‖, is itself beyond float32
        assert torch.autograd.grad(f.sum() + log_det, w)[0].isfinite().all()


def test_at_no_w_at_all_the_safe_map_is_a_shift_and_the_source_has_no_limit() -> None:
    z, u, b = torch.ones(2), torch.tensor([0.5, -1.0]), torch.tensor(0.7)
    f, log_det = planar(z, torch.zeros(2), u, b)
    assert torch.allclose(f, z + u * torch.tanh(b)) and abs(float(log_det)) < 1e-6
    steps = [planar(z, torch.tensor([w, 0.0]), u, b, "source")[0].norm() for w in (1e-2, 1e-4, 1e-6)]
    assert steps[2] > 50 * steps[1] > 2_000 * steps[0] / 50


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("scale", [0.3, 1.0, 4.0])
def test_inverses_bring_points_back(name: str, scale: float) -> None:
    layer, inverse, kind = LAYERS[name]
    z, *rest = ordinary(kind, 2_000, 3)
    rest = [scale * value for value in rest]
    f, log_det = layer(z, *rest)
    back, backward = inverse(f, *rest)
    again, forward = layer(back, *rest)
    assert (again - f).abs().max() < 1e-11, "a root to rounding"
    assert (backward + forward).abs().max() < 1e-10, "the log-determinant is that at the root"
    # z itself is known as well as the map's smallest slope allows
    assert ((back - z).abs().amax(-1) * log_det.clamp(max=0).exp()).max() < 1e-11


def test_the_inverse_holds_where_newton_alone_would_not() -> None:
    """Slopes from e^−40 (flat at 0) to 1e6 (a step), targets from 0 to 1e4."""
    x = torch.tensor([-1e6, -40.0, -5.0, 0.0, 5.0, 1e3, 1e6], dtype=torch.float64)
    w = torch.tensor([1.0, 0.0], dtype=torch.float64)
    u = torch.stack((x, torch.ones_like(x)), -1)
    b = torch.zeros((), dtype=torch.float64)
    for target in (0.0, 1e-9, 1e-3, 0.5, 3.0, 1e4):
        y = torch.tensor([target, 2.0], dtype=torch.float64).expand(7, 2)
        z, log_det = planar_inverse(y, w, u, b)
        assert z.isfinite().all() and not log_det.isnan().any()
        back = planar(z, w, u, b)[0]
        assert ((back - y).abs() <= 1e-12 * (1 + y.abs() + u.abs())).all()


def test_parameters_per_sample_are_those_of_each_alone() -> None:
    z, w, u, b = ordinary("planar", 5, 3)
    together = planar(z.unsqueeze(0).expand(4, -1, -1), w, u, b)
    for index in range(5):
        alone = planar(z[index], w[index], u[index], b[index])
        assert torch.allclose(together[0][2, index], alone[0], atol=1e-14)
        assert torch.allclose(together[1][2, index], alone[1], atol=1e-14)


def test_an_unknown_constraint_is_refused() -> None:
    z, w, u, b = ordinary("planar", 1, 2)
    with pytest.raises(UserError, match="constraint: found 'free', expected source or safe"):
        planar(z, w, u, b, "free")
