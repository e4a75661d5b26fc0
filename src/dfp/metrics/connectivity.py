"""Learned weights between cells against the true ones."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfp.core.errors import UserError
from dfp.core.extras import optional

Array = NDArray[np.float64]


def weight_metrics(learned: NDArray[Any], truth: NDArray[Any], scaled: bool = True) -> dict[str, float]:
    """How well weights agree with the truth, over all ordered pairs of different cells and all functions.

    With w learned and v true, each of R·N·(N − 1) entries:

    * ``weight_correlation``: Pearson's. It is 0 where the learned weights are all equal, since they then say
      nothing; left out where the true ones are, since it has no meaning there.
    * ``weight_slope``: a of the least-squares line w = a v + c (1 is right, below 1 shrunken); left out
      likewise.
    * ``weight_rmse``: √mean (w − v)², logits.
    * ``weight_auc``, ``weight_ap``: area under the receiver operating characteristic, and average precision,
      of \\|w\\| as a score for "v ≠ 0"; left out where no entry or every entry is an edge. A blind score has
      an auc of 0.5 and an average precision of the share of edges.
    * ``weight_sign_accuracy``: the share of edges (v ≠ 0) with sign w = sign v; w = 0 counts as wrong; left
      out where there is no edge.

    Args:
        learned, truth: ``(R, N, N)``, ``[r, i, j]`` from cell j onto cell i; diagonals are ignored.
        scaled: whether ``learned`` is in logits; correlations are not, and get no slope and no rmse.

    Raises:
        UserError: when the shapes differ, there are no two cells, or a learned weight is not finite.
    """
    w, v = _off_diagonal(learned, truth)
    metrics: dict[str, float] = {}
    if np.ptp(v) > 0:
        metrics["weight_correlation"] = correlation(w, v)
        if scaled:
            spread = v - v.mean()
            metrics["weight_slope"] = float(w @ spread / (spread @ spread))
    if scaled:
        metrics["weight_rmse"] = float(np.sqrt(np.mean((w - v) ** 2)))
    edges = v != 0
    if edges.any() and not edges.all():
        # here, since its import takes as long as evaluating a run of one cell
        with optional():
            from sklearn.metrics import average_precision_score, roc_auc_score

        metrics["weight_auc"] = float(roc_auc_score(edges, np.abs(w)))
        metrics["weight_ap"] = float(average_precision_score(edges, np.abs(w)))
    if edges.any():
        metrics["weight_sign_accuracy"] = float(np.mean(np.sign(w[edges]) == np.sign(v[edges])))
    return metrics


def limit_correlation(draws: NDArray[Any], truth: NDArray[Any]) -> float:
    """The correlation with the truth that the mean of endlessly many draws would have.

    The mean m of S draws of a chain is the posterior mean plus Monte Carlo noise, which lowers its
    correlation with the truth v. The noise of the first and of the second half of the draws, with means m₁
    and m₂, is nearly independent, so that cov(m₁, m₂) over the weights estimates the variance without it:

        ``cov(m, v) / √(cov(m₁, m₂) var(v))``

    (Spearman's correction for attenuation, 1904). Over all ordered pairs of different cells. Where halves
    still share noise it is too small, by less than for m itself.

    Args:
        draws: ``(S, R, N, N)``, S ≥ 2, in the order of the chain; an odd last draw counts in m alone.
        truth: ``(R, N, N)``.

    Returns:
        NaN where the halves have nothing in common or the true weights are all alike.

    Raises:
        UserError: for fewer draws, or what ``weight_metrics`` refuses.
    """
    if len(draws) < 2:
        raise UserError(f"draws: found {len(draws)}, expected at least 2")
    half = len(draws) // 2
    parts = (draws[:half], draws[half : 2 * half], draws)
    first, second, mean = (_off_diagonal(np.mean(part, axis=0), truth)[0] for part in parts)
    v = _off_diagonal(draws[0], truth)[1]
    shared, spread = np.cov(first, second)[0, 1], np.var(v, ddof=1)
    if not (shared > 0 and spread > 0):
        return float("nan")
    return float(np.cov(mean, v)[0, 1] / np.sqrt(shared * spread))


def correlation(w: Array, v: Array) -> float:
    """Pearson's correlation of two arrays ``(n,)``; 0 where either is constant."""
    # A constant array does not give exact zeros below, since its mean is rounded.
    if np.ptp(w) == 0 or np.ptp(v) == 0:
        return 0.0
    first, second = w - w.mean(), v - v.mean()
    return float(first @ second / (np.linalg.norm(first) * np.linalg.norm(second)))


def _off_diagonal(learned: NDArray[Any], truth: NDArray[Any]) -> tuple[Array, Array]:
    """Both as flat arrays of R·N·(N − 1) entries."""
    w, v = np.asarray(learned, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    if w.shape != v.shape or v.ndim != 3 or v.shape[1] != v.shape[2]:
        raise UserError(f"weights: found shapes {w.shape} and {v.shape}, expected two alike of (R, N, N)")
    if v.shape[0] < 1 or v.shape[1] < 2:
        raise UserError(f"weights: found shape {v.shape}, expected at least one function and two cells")
    apart = np.broadcast_to(~np.eye(v.shape[1], dtype=bool), v.shape)
    if not np.isfinite(w[apart]).all() or not np.isfinite(v[apart]).all():
        raise UserError("weights: found a weight that is not finite, expected numbers")
    return w[apart], v[apart]
