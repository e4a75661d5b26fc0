"""What every posterior family is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from dfp.distributions.causal_bernoulli import CausalBernoulli
from dfp.distributions.law import SpikeLaw, pmf_of
from dfp.samplers.relaxations import Relaxation

#: a differentiable surrogate of the bound, raised by refined posteriors: (q, relaxation) -> nats summed over
#: everything
Bound = Callable[[CausalBernoulli, Relaxation], Tensor]


@dataclass(frozen=True)
class TraceSummary:
    """What a posterior may know of the data before it is trained: sizes and the scale of the traces.

    Attributes:
        cells: N.
        centre, scale: ``(N,)`` of every cell's trace, used to standardise the recognition network's input.

    Example:
        >>> summary = dfp.TraceSummary.of(torch.tensor([[[0.0], [1.0], [2.0]]]))
        >>> summary.cells, summary.centre
        (1, tensor([1.]))
    """

    cells: int
    centre: Tensor
    scale: Tensor

    @staticmethod
    def of(x: Tensor) -> TraceSummary:
        """Mean and standard deviation of traces ``(B, T, N)`` over trials and bins.

        Frames not observed are left out; a cell that is never observed has 0 and 1.
        """
        flat = x.reshape(-1, x.shape[-1]).double()
        flat = torch.where(torch.isfinite(flat), flat, torch.nan)
        centre = flat.nanmean(0).nan_to_num(nan=0.0)
        spread = (flat - centre).square().nanmean(0).sqrt().nan_to_num(nan=1.0)
        return TraceSummary(x.shape[-1], centre.float().cpu(), spread.clamp_min(1e-6).float().cpu())


@dataclass(frozen=True)
class Conditioned:
    """A posterior for given traces.

    Attributes:
        q: the distribution over spikes.
        amortised: for refined posteriors, the recognition network's own distribution before refinement; else
            None.
        distil: whether the recognition network learns from KL(q ‖ amortised) instead of from the objective.
    """

    q: SpikeLaw
    amortised: CausalBernoulli | None = None
    distil: bool = False

    @property
    def pmf(self) -> CausalBernoulli:
        """``q`` where it gives spikes a probability. Raises ``UserError`` where it does not."""
        return pmf_of(self.q)


class Posterior(nn.Module, ABC):
    """An approximate posterior ``q(z | x)``.

    Subclasses define ``name``, a dataclass ``Config`` whose fields are the family's settings, and
    ``__init__(config, summary, rng)``, where ``rng`` is the generator that the initial weights are drawn
    from.

    Attributes:
        per_cell: whether every parameter has a leading cell dimension, that is no weight is shared between
            cells.
    """

    name: ClassVar[str]
    Config: ClassVar[type]
    per_cell: bool = False

    @abstractmethod
    def condition(
        self, x: Tensor, bound: Bound | None = None, prior: CausalBernoulli | None = None
    ) -> Conditioned:
        """The posterior for traces ``(B, T, N)``; NaN frames are allowed.

        Args:
            x: traces.
            bound: the objective as a callable; used by refined posteriors only, and required by them.
            prior: the model's law of the spikes; used by posteriors tied to it only, and required by them.
        """

    def causal_parameters(self) -> tuple[nn.Parameter, ...] | None:
        """What multiplies each causal term of q, in the order of ``condition(...).pmf.terms``.

        The terms that are the prior's own are left out. A parameter times c is that term times c.

        Their first dimension is the cell, or 1 where cells share it. None where no parameter multiplies a
        term, or a family does not say: its causal weights can then not be guarded.
        """
        return None

    @property
    def unrefined(self) -> Posterior:
        """The family whose answer is refined; of others, itself."""
        return self

    #: whether q gives spikes a probability, ``Conditioned.pmf``; if not, it is a law of latents alone
    has_pmf: ClassVar[bool] = True

    @property
    def continuous(self) -> bool:
        """Whether the family's latents are logistic variables and not spikes."""
        return False
