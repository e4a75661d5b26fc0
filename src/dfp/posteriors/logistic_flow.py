"""Logistic flow: the autoregressive posterior read as a normalizing flow over continuous logistic latents."""

from __future__ import annotations

from typing import ClassVar

from dfp.posteriors.autoregressive import Autoregressive


class LogisticFlow(Autoregressive):
    """Latents ``L[t] = u^q[t](z) + ℓ[t]`` with z = σ(L/τ).

    The map ℓ → L has a unit lower-triangular Jacobian at every number of sweeps.

    Hence ``log q(L) = Σ log Logistic(ℓ)`` and ``log p(L) = Σ log Logistic(L − u^p(z))``; trained by the
    logistic density only. Its hard samples, z = Θ(L) by the hard recursion, are those of the autoregressive
    posterior with the same weights, and are what is evaluated.

    Source: Aitchison, Adam & Turaga 2018 (the alternative that the paper reports as biased).

    Example:
        >>> x = torch.randn(1, 60, 2, generator=dfp.generator(0))
        >>> posterior = dfp.LogisticFlow(dfp.AutoregressiveConfig(), dfp.TraceSummary.of(x), dfp.generator(0))
        >>> posterior.continuous  # trained by LogisticDensity
        True
    """

    name: ClassVar[str] = "logistic_flow"

    @property
    def continuous(self) -> bool:
        return True
