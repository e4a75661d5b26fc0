"""The model's own spiking law fitted to given spikes: a logistic regression on the past of all cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfp.core.errors import UserError
from dfp.core.extras import optional

Array = NDArray[np.float64]

#: Newton steps (a handful are needed) and the largest gradient of the mean loss at which it stops.
STEPS = 100
TOLERANCE = 1e-6


@dataclass(frozen=True, eq=False)
class Regression:
    """Estimates in logits: ``bias (N,)``, ``history (N, Lh)``, ``coupling (R, N, N)``, its diagonal zero."""

    bias: Array
    history: Array
    coupling: Array


def regress(
    z: NDArray[Any],
    basis: NDArray[Any],
    history: int,
    ridge: float = 1e-6,
    targets: NDArray[Any] | None = None,
    receivers: Sequence[int] | None = None,
) -> Regression:
    """Penalised maximum likelihood of the spiking law, one logistic regression a receiving cell.

    u[t, i] = b_i + Σ_τ h_iτ z[t − τ, i] + Σ_r Σ_{j≠i} W_r[i, j] (φ_r * z_j)[t], no spikes before t = 0, and
    for each i

        min  mean_t CE(y[t, i], σ(u[t, i])) + ½ ridge (Σ_τ h_iτ² + Σ_rj W_r[i, j]²),

    CE(y, p) = −y log p − (1 − y) log(1 − p), the mean over the B·T bins that are counted: the strength of the
    penalty relative to the data does not depend on how many bins there are (the convention of NeMoS). The
    bias is not penalised. Own history is, as coupling is: a cell that never fires twice in a row has no
    finite estimate otherwise. An entry shrinks by about ridge / (mean of σ'(u) (its regressor)²), so that the
    default, 1e-6, is far below the standard error and serves only to keep estimates finite.

    A cell whose targets are all 0 (or all 1) has no finite bias: half an event is added,
    b = logit(½ / (n + 1)), and it gets zero weights. Weights from a cell that never spikes are 0.

    Args:
        z: ``(B, T, N)`` values in [0, 1]: spikes, or something like them. Trials share the parameters, so
            posterior samples may be stacked as trials.
        basis: ``(R, L)``, lag 1 first; R may be 0.
        history: Lh ≥ 0, own-history lags.
        ridge: ≥ 0; units of nats per bin and squared logit.
        targets: ``(B, T, N)`` y in [0, 1], by default ``z``; NaN leaves that bin of that cell out. A value
            strictly between 0 and 1 is two rows, with weights y and 1 − y.
        receivers: cells to regress, by default all; bias, history and weights onto the others are left 0.

    Raises:
        UserError: for wrong shapes, values outside [0, 1], or a cell without any counted bin.

    Source: the point-process generalised linear model (Truccolo et al. 2005; Pillow et al. 2008); solved by
    scikit-learn.
    """
    values, wanted, filters = _checked(z, basis, history, ridge, targets)
    trials, bins, cells = values.shape
    own = lagged(values, np.eye(history)) if history else np.zeros((0, trials, bins, cells))
    others = lagged(values, filters)
    count = filters.shape[0]
    # one column a function and sending cell, own-history columns last
    design = np.zeros((trials * bins, count * cells + history))
    design[:, : count * cells] = others.transpose(1, 2, 0, 3).reshape(trials * bins, count * cells)
    found = Regression(np.zeros(cells), np.zeros((cells, history)), np.zeros((count, cells, cells)))
    senders = np.tile(np.arange(cells), count)
    for i in range(cells) if receivers is None else receivers:
        design[:, count * cells :] = own[..., i].reshape(history, trials * bins).T
        kept = np.append(senders != i, np.ones(history, dtype=bool))
        found.bias[i], weights = _one_cell(design[:, kept], wanted[..., i].ravel(), ridge, i)
        found.history[i] = weights[len(weights) - history :]
        found.coupling[:, i, np.arange(cells) != i] = weights[: len(weights) - history].reshape(
            count, cells - 1
        )
    return found


def _one_cell(design: Array, target: Array, ridge: float, cell: int) -> tuple[float, Array]:
    """Bias, and weights ``(features,)``."""
    counted = np.isfinite(target)
    rows = int(counted.sum())
    if rows == 0:
        raise UserError(f"targets: found no observed bin of cell {cell}, expected at least one")
    if rows < len(target):
        design, target = design[counted], target[counted]
    total = float(target.sum())
    if total in (0.0, rows):
        odds = (total + 0.5) / (rows - total + 0.5)
        return float(np.log(odds)), np.zeros(design.shape[1])
    if design.shape[1] == 0:
        return float(np.log(total / (rows - total))), np.zeros(0)
    between = (target > 0) & (target < 1)
    label, weight = (target > 0).astype(np.int64), np.where(between, target, 1.0)
    if between.any():
        design = np.concatenate([design, design[between]])
        label = np.concatenate([label, np.zeros(int(between.sum()), dtype=np.int64)])
        weight = np.concatenate([weight, 1 - target[between]])
    # here, since its import takes as long as evaluating a run of one cell
    with optional():
        from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(
        # scikit-learn minimises ½ |w|² + C Σ loss
        C=1 / (ridge * rows) if ridge > 0 else np.inf,
        solver="newton-cholesky",
        tol=TOLERANCE,
        max_iter=STEPS,
    )
    model.fit(design, label, sample_weight=weight)
    return float(model.intercept_[0]), model.coef_[0]


def lagged(z: Array, filters: Array) -> Array:
    """(φ_r * z)[t] = Σ_τ φ_r(τ) z[t − τ], trial by trial: ``(R, B, T, N)`` from ``(B, T, N)``."""
    out = np.zeros((filters.shape[0], *z.shape))
    for lag in range(1, min(filters.shape[1], z.shape[1] - 1) + 1):
        for r in np.flatnonzero(filters[:, lag - 1]):
            out[r, :, lag:] += filters[r, lag - 1] * z[:, : z.shape[1] - lag]
    return out


def _checked(
    z: NDArray[Any], basis: NDArray[Any], history: int, ridge: float, targets: NDArray[Any] | None
) -> tuple[Array, Array, Array]:
    values, filters = np.asarray(z, dtype=np.float64), np.asarray(basis, dtype=np.float64)
    if values.ndim != 3 or 0 in values.shape:
        raise UserError(f"z: found shape {values.shape}, expected (trials, bins, cells), none of them 0")
    if filters.ndim != 2:
        raise UserError(f"basis: found shape {filters.shape}, expected (functions, lags)")
    if history < 0:
        raise UserError(f"history: found {history}, expected a number of bins of at least 0")
    if not ridge >= 0:
        raise UserError(f"ridge: found {ridge}, expected a number of at least 0")
    wanted = values if targets is None else np.asarray(targets, dtype=np.float64)
    if wanted.shape != values.shape:
        raise UserError(f"targets: found shape {wanted.shape}, expected that of z, {values.shape}")
    if not ((values >= 0) & (values <= 1)).all():
        raise UserError("z: found values outside [0, 1] or not finite, expected spikes or probabilities")
    if np.isinf(wanted).any() or (wanted < 0).any() or (wanted > 1).any():
        raise UserError("targets: found values outside [0, 1], expected probabilities or NaN")
    return values, wanted, filters
