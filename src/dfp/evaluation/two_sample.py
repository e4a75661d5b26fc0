"""Classifier two-sample test: can one tell a posterior's samples from exact ones?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier

from dfp.core.errors import UserError

Array = NDArray[np.float64]

#: bins of one window that the classifier sees; dependencies of refractory spikes under calcium reach about this far
WINDOW = 20


def two_sample_accuracy(
    samples: NDArray[np.int8],
    exact: NDArray[np.int8],
    marginals: Array,
    x: Array,
    *,
    window: int = WINDOW,
    seed: int = 0,
) -> float:
    """Accuracy of a classifier on windows of sample paths of one cell: 0.5 means not to be told apart, 1 always.

    Both kinds come from the same trials. A window is described by what a path does beyond the exact marginals: with residuals
    ``r = z − P(z = 1 | x)`` standardised by the square root of the window's summed variances, the sum of residuals (its square is the count's
    variance), the products of neighbouring residuals at lags 1 to 4, the log-probability of the window under the exact marginals less its
    expectation, the longest run without a spike, and, for context, the expected count and its variance. Gradient-boosted trees are trained on
    half the trials and scored on the other half, then the halves are exchanged.

    Args:
        samples, exact: ``(S, B, T)`` paths of the two kinds, as many of each.
        marginals: ``(B, T)`` exact P(z = 1 | x).
        x: ``(B, T)`` the trace; windows without any observed frame are left out.
        window: bins.
        seed: of the classifier.

    Returns:
        Balanced accuracy, averaged over the two halves.

    Source: Lopez-Paz & Oquab 2017, with features of our choice.
    """
    if samples.shape != exact.shape:
        raise UserError(f"two-sample test: found samples of shape {samples.shape} and {exact.shape}, expected the same")
    trials, bins = marginals.shape
    if trials < 2 or bins < window:
        raise UserError(f"two-sample test: found {trials} trials of {bins} bins, expected at least 2 of {window}")
    seen = np.isfinite(x[:, : bins // window * window]).reshape(trials, -1, window).any(2)
    accuracy = []
    for half in (0, 1):
        train, test = np.arange(trials) % 2 == half, np.arange(trials) % 2 != half
        model = HistGradientBoostingClassifier(max_iter=60, max_leaf_nodes=15, learning_rate=0.1, random_state=seed)
        model.fit(*_labelled(samples, exact, marginals, seen, train, window))
        features, labels = _labelled(samples, exact, marginals, seen, test, window)
        accuracy.append(float((model.predict(features) == labels).mean()))
    return float(np.mean(accuracy))


def _labelled(
    samples: NDArray[np.int8],
    exact: NDArray[np.int8],
    marginals: Array,
    seen: NDArray[np.bool_],
    trials: NDArray[np.bool_],
    window: int,
) -> tuple[Array, Array]:
    kept = seen[trials].ravel()
    parts = [_features(paths[:, trials], marginals[trials], window)[:, kept] for paths in (samples, exact)]
    flat = [part.reshape(-1, part.shape[-1]) for part in parts]
    return np.concatenate(flat), np.repeat([0.0, 1.0], [len(flat[0]), len(flat[1])])


def _features(z: NDArray[np.int8], marginals: Array, window: int) -> Array:
    """``(S, windows of all trials, features)``."""
    samples, trials, bins = z.shape
    count = bins // window
    paths = z[:, :, : count * window].reshape(samples, trials * count, window).astype(float)
    p = np.clip(marginals[:, : count * window].reshape(trials * count, window), 1e-6, 1 - 1e-6)
    residual = paths - p
    variance = p * (1 - p)
    total = variance.sum(1)
    columns = [residual.sum(2) / np.sqrt(total)]
    for lag in range(1, 5):
        scale = np.sqrt((variance[:, lag:] * variance[:, :-lag]).sum(1))
        columns.append((residual[..., lag:] * residual[..., :-lag]).sum(2) / scale)
    logit = np.log(p) - np.log1p(-p)
    columns.append((residual * logit).sum(2))
    columns.append(_longest_silence(paths))
    context = [np.broadcast_to(p.sum(1), columns[0].shape), np.broadcast_to(total, columns[0].shape)]
    return np.stack(columns + context, -1)


def _longest_silence(paths: Array) -> Array:
    run = np.zeros(paths.shape[:-1])
    longest = np.zeros_like(run)
    for t in range(paths.shape[-1]):
        run = (run + 1) * (paths[..., t] == 0)
        longest = np.maximum(longest, run)
    return longest
