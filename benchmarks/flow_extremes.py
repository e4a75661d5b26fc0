"""Planar and radial flows at extremes, beside those of normflows and Pyro where they are installed.

    pip install normflows pyro-ppl      # optional: without them a sentence says so, and dfp stands alone
    python benchmarks/flow_extremes.py [errors.csv]

Columns are those of ``tables.py``. For each place: the largest error of the log-determinant over random
points, against 60 digits on the same floating-point inputs (relative to values above 1), or how many of the
values are not finite. Both others use the source's constraint, so dfp's `source` column is the like for like.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from importlib.metadata import version
from types import ModuleType
from typing import Any

import mpmath as mp
import torch
from tables import Case, arguments, table, write
from torch import Tensor

from dfp.core.noise import generator
from dfp.flows.planar import planar
from dfp.flows.radial import radial

POINTS, DIMS, DIGITS = 50, 2, 60
#: wᵀu at ‖w‖ = 1
SLOPES = (-1e6, -1e3, -100.0, -20.0, 0.0, 20.0, 87.0, 89.0, 1e3, 1e6)
#: ‖w‖ at ‖u‖ = 1
LENGTHS = (1e-3, 1e-10, 1e-20, 0.0)
#: raw α, raw β of a radial flow
RADIAL = ((0.0, 0.0), (0.0, -20.0), (0.0, -200.0), (0.0, 100.0), (-200.0, 0.0), (-200.0, 1e3))
Layer = Callable[..., tuple[Tensor, Tensor]]


def optional(name: str, package: str) -> ModuleType | None:
    """A module, or None with a sentence."""
    try:
        return import_module(name)
    except ImportError:
        print(f"{name}: not installed (pip install {package}), so it is left out.")
        return None


def normflows_layers() -> dict[str, Layer]:
    """normflows' flows with our parameters; its radial flow takes |α| for α, and α is given so."""
    found = optional("normflows", "normflows")
    if found is None:
        return {}

    def plane(z: Tensor, w: Tensor, u: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        made = found.flows.Planar((DIMS,), u=u[None], w=w[None], b=b.reshape(1))
        return _flat(*made(z))

    def ball(z: Tensor, centre: Tensor, alpha: Tensor, beta: Tensor) -> tuple[Tensor, Tensor]:
        made = found.flows.Radial((DIMS,), z_0=centre[None]).to(z.dtype)
        made.alpha.data = torch.nn.functional.softplus(alpha).reshape(1)
        made.beta.data = beta.reshape(1)
        return _flat(*made(z))

    return {"planar": plane, "radial": ball}


def pyro_layers() -> dict[str, Layer]:
    """Pyro's transforms with our parameters."""
    found = optional("pyro", "pyro-ppl")
    if found is None:
        return {}
    planes = import_module("pyro.distributions.transforms.planar")
    balls = import_module("pyro.distributions.transforms.radial")

    def moved(made: Any, z: Tensor) -> tuple[Tensor, Tensor]:
        f = made(z)
        return _flat(f, made.log_abs_det_jacobian(z, f))

    return {
        "planar": lambda z, w, u, b: moved(planes.ConditionedPlanar(bias=b.reshape(1), u=u, w=w), z),
        "radial": lambda z, centre, alpha, beta: moved(
            balls.ConditionedRadial(centre, alpha.reshape(1), beta.reshape(1)), z
        ),
    }


def _flat(f: Tensor, log_det: Tensor) -> tuple[Tensor, Tensor]:
    return f.detach(), log_det.detach().reshape(len(f), -1).squeeze(-1)


def exact(layer: str, constraint: str, z: list[float], rest: list[Any]) -> mp.mpf:
    """The log-determinant of exact arithmetic on the same inputs."""

    def softplus(x: mp.mpf) -> mp.mpf:
        return mp.log1p(mp.exp(x))

    point = [mp.mpf(value) for value in z]
    if layer == "planar":
        w, u, b = [mp.mpf(value) for value in rest[0]], [mp.mpf(value) for value in rest[1]], mp.mpf(rest[2])
        a, x = mp.fdot(w, point) + b, mp.fdot(w, u)
        s = softplus(x + (mp.log(mp.e - 1) if constraint == "safe" else 0))
        return mp.log(mp.tanh(a) ** 2 + s * mp.sech(a) ** 2)
    r = mp.sqrt(mp.fsum((one - mp.mpf(two)) ** 2 for one, two in zip(point, rest[0], strict=True)))
    alpha, s = softplus(mp.mpf(rest[1])), softplus(mp.mpf(rest[2]))
    return (DIMS - 1) * mp.log((r + s) / (r + alpha)) + mp.log(
        (r * r + 2 * alpha * r + s * alpha) / (r + alpha) ** 2
    )


def largest_error(layer: Layer, kind: str, constraint: str, inputs: list[Tensor]) -> tuple[str, float]:
    """Largest error, or how many of the values are not finite."""
    f, found = layer(*inputs)
    lost = ~(f.isfinite().all(-1) & found.isfinite())
    if bool(lost.any()):
        return "not_finite", float(lost.sum())
    with mp.workdps(DIGITS):
        rest = [value.tolist() for value in inputs[1:]]
        worst = mp.mpf(0)
        for point, value in zip(inputs[0].tolist(), found.tolist(), strict=True):
            wanted = exact(kind, constraint, point, rest)
            worst = max(worst, abs(mp.mpf(value) - wanted) / max(1, abs(wanted)))
    return "error", float(worst)


def places(dtype: torch.dtype) -> list[tuple[str, str, list[Tensor]]]:
    """Kind, name and inputs of every place."""
    rng = generator(0)
    z = torch.randn(POINTS, DIMS, generator=rng).to(dtype)
    across = torch.tensor([0.6, 0.8], dtype=dtype)
    found = []
    for slope in SLOPES:
        found.append(("planar", f"wᵀu = {slope:g}", [z, across, slope * across, torch.tensor(0.1).to(dtype)]))
    for length in LENGTHS:
        u = torch.tensor([1.0, 0.0], dtype=dtype)
        found.append(("planar", f"‖w‖ = {length:g}", [z, length * across, u, torch.tensor(0.5).to(dtype)]))
    for alpha, beta in RADIAL:
        raw = [torch.tensor(value, dtype=dtype) for value in (alpha, beta)]
        found.append(("radial", f"raw α = {alpha:g}, raw β = {beta:g}", [z, z[0], *raw]))
    return found


def rows() -> Iterator[dict[str, Any]]:
    """A row for every place, precision and implementation."""
    others = {"normflows": normflows_layers(), "pyro-ppl": pyro_layers()}
    for dtype in (torch.float32, torch.float64):
        for kind, name, inputs in places(dtype):
            layers: dict[str, tuple[Layer, str]] = {}
            for constraint in ("safe", "source"):
                own: Layer = partial(planar, constraint=constraint) if kind == "planar" else radial
                layers[f"dfp, {constraint}"] = own, constraint
            for package, made in others.items():
                if made:
                    layers[f"{package} {version(package)}"] = made[kind], "source"
            case = Case(f"{kind}, {name}, {str(dtype).removeprefix('torch.')}")
            for method, (layer, constraint) in layers.items():
                measure, value = largest_error(layer, kind, constraint, inputs)
                yield case.row(method, measure, "values" if measure == "not_finite" else "1", [value])


def main() -> None:
    """Print the table, and write it where a file is asked for."""
    asked = arguments(__doc__, rounds=None, threads=False).parse_args()
    write(table("flow_extremes", rows()), asked.out)


if __name__ == "__main__":
    main()
