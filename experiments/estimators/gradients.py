"""Estimated gradients of the bound against exact ones: bias, spread and a z-test for every coordinate."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dfp.core.errors import UserError

#: a coordinate whose draws differ by less than this times its size is the same in every draw
_STILL = 1e-12
#: and is right when it differs from the exact one by less than this times the gradient's norm
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Estimate:
    """Moments of independent draws of a gradient.

    Attributes:
        exact: ``(..., D)``, what the draws are held against.
        mean: ``(..., D)`` over draws.
        variance: ``(..., D)`` of a single draw, unbiased (divided by n − 1).
        draws: n.
    """

    exact: Tensor
    mean: Tensor
    variance: Tensor
    draws: int

    def of(self, coordinates: slice) -> Estimate:
        """The same for some of the coordinates."""
        exact, mean, variance = (part[..., coordinates] for part in (self.exact, self.mean, self.variance))
        return Estimate(exact, mean, variance, self.draws)

    @property
    def norm(self) -> Tensor:
        """``‖g*‖``, ``(...)``."""
        return self.exact.norm(dim=-1)

    @property
    def squared_bias(self) -> Tensor:
        """``(‖ḡ − g*‖² − Σ_d s²_d / n) / ‖g*‖²``, ``(...)``, unbiased for ``‖E g − g*‖² / ‖g*‖²``.

        Where there is no bias it scatters around 0, below it too.
        """
        error = (self.mean - self.exact).square().sum(-1)
        return (error - self.variance.sum(-1) / self.draws) / self.norm.square()

    @property
    def relative_bias(self) -> Tensor:
        """Root of ``squared_bias``, 0 where that is negative, ``(...)``."""
        return self.squared_bias.clamp_min(0).sqrt()

    @property
    def resolution(self) -> Tensor:
        """``√(Σ_d s²_d / n) / ‖g*‖``, ``(...)``: the relative error of ḡ by chance alone."""
        return (self.variance.sum(-1) / self.draws).sqrt() / self.norm

    @property
    def cosine(self) -> Tensor:
        """Cosine of the angle between ḡ and g*, ``(...)``."""
        return torch.nn.functional.cosine_similarity(self.mean, self.exact, dim=-1)

    @property
    def relative_sd(self) -> Tensor:
        """``√(Σ_d s²_d) / ‖g*‖`` of a single draw, ``(...)``.

        Its square is the number of draws whose mean has a signal-to-noise ratio of 1.
        """
        return self.variance.sum(-1).sqrt() / self.norm

    @property
    def z(self) -> Tensor:
        """``(ḡ_d − g*_d) √n / s_d``, ``(..., D)``.

        A coordinate that is the same in every draw has z = 0 where it is right to rounding and infinity where
        it is not.
        """
        error = self.mean - self.exact
        spread = (self.variance / self.draws).sqrt()
        size = self.norm[..., None]
        still = spread <= _STILL * size
        wrong = torch.where(error.abs() > _ROUNDING * size, torch.inf, 0.0).to(error.dtype)
        return torch.where(still, wrong, error / torch.where(still, torch.ones_like(spread), spread))


class Moments:
    """Mean and variance of draws that come in batches, without keeping them (Chan, Golub & LeVeque 1979)."""

    def __init__(self) -> None:
        self.draws = 0
        self._mean: Tensor | None = None
        self._squares: Tensor | None = None

    def add(self, batch: Tensor) -> None:
        """A batch of draws ``(n, ..., D)``."""
        count = batch.shape[0]
        mean = batch.mean(0)
        squares = (batch - mean).square().sum(0)
        if self._mean is None or self._squares is None:
            self._mean, self._squares = mean, squares
        else:
            gap, total = mean - self._mean, self.draws + count
            self._mean = self._mean + gap * (count / total)
            self._squares = self._squares + squares + gap.square() * (self.draws * count / total)
        self.draws += count

    def against(self, exact: Tensor) -> Estimate:
        """The draws so far beside the exact gradient ``(..., D)``.

        Raises:
            UserError: for fewer than two draws.
        """
        if self.draws < 2 or self._mean is None or self._squares is None:
            raise UserError(f"gradient moments: found {self.draws} draws, expected at least 2")
        return Estimate(exact, self._mean, self._squares / (self.draws - 1), self.draws)


def independent_copies(values: Tensor, copies: int) -> Tensor:
    """Every cell's values ``(..., I)`` as ``copies`` cells side by side, ``(..., copies · I)``.

    The result is a leaf that requires a gradient; copy c of cell i is cell ``c · I + i``.
    """
    return values.detach().repeat(*([1] * (values.dim() - 1)), copies).requires_grad_()
