"""Classifier two-sample test: can a posterior's samples be distinguished from exact ones?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dfp.core.errors import UserError
from dfp.core.extras import optional

Array = NDArray[np.float64]
Paths = NDArray[np.int8]

#: bins of one window that the classifier sees; dependencies of refractory spikes under calcium reach this far
WINDOW = 20
#: lags at which products of neighbouring bins are summed
_PAIR_LAGS = 4
#: bins of the response by which a path predicts the trace
_RESPONSE_BINS = 16
#: exact samples per trial that the response is regressed on; their noise is the trace's, so more add little
_RESPONSE_SAMPLES = 8


def two_sample_accuracy(
    samples: Paths,
    exact: Paths,
    marginals: Array,
    x: Array,
    *,
    window: int = WINDOW,
    seed: int = 0,
) -> float:
    """Accuracy of a classifier on windows of sample paths of one cell: 0.5 by chance, 1 if always right.

    Both kinds of path come from the same trials. Gradient-boosted trees are trained on half the trials and
    scored on the other half; then the halves change places. They see a window of a path through statistics
    chosen to betray wrong dependencies between bins even where every marginal is right. With
    ``r[t] = z[t] − P(z[t] = 1 | x)`` and variances ``v = P (1 − P)``:

    * ``Σ r / √Σ v``: its square tells a wrong variance of the count;
    * ``Σ r[t] r[t+l] / √Σ v[t] v[t+l]`` and the pairs ``Σ z[t] z[t+l]`` at lags l = 1 to 4: refractoriness,
      bursts, and a spike moved by a bin;
    * ``Σ r logit P``: the window's log-probability under the marginals, less its mean;
    * the longest run of bins without a spike;
    * how the path explains the trace, where it was observed: mean residual of the trace, its mean square and
      its product at lag 1, each less that of the marginals. The response to a spike is regressed on exact
      paths of the training trials;
    * and, as context that is the same for both kinds, ``Σ P``, ``Σ v``, the pairs expected of independent
      bins, and the marginals' mean square residual.

    Args:
        samples, exact: ``(S, B, T)`` paths of 0 and 1, as many of each.
        marginals: ``(B, T)`` exact P(z = 1 | x).
        x: ``(B, T)`` the trace; a window without any observed frame (finite value) is left out.
        window: bins.
        seed: of the classifier.

    Returns:
        Accuracy averaged over the two halves. The kinds are balanced, so chance is 0.5.

    Raises:
        UserError: for shapes that disagree, fewer than 2 trials, a window longer than a trial or below
            6 bins, or too few observed windows.

    Source: Lopez-Paz & Oquab 2017, with features of our choice.
    """
    _check(samples, exact, marginals, x, window)
    with optional():
        from sklearn.ensemble import HistGradientBoostingClassifier
    trials = np.arange(marginals.shape[0])
    accuracy = []
    for half in (0, 1):
        train, test = trials[trials % 2 == half], trials[trials % 2 != half]
        response = _response(exact[:_RESPONSE_SAMPLES, train], x[train])
        model = HistGradientBoostingClassifier(
            max_iter=60, max_leaf_nodes=15, learning_rate=0.1, early_stopping=False, random_state=seed
        )
        parts = []
        for part in (train, test):
            seen = _windows(np.isfinite(x[part]), window).any(1)
            if not seen.any():
                raise UserError(
                    "two-sample test: found no observed window in half of the trials, expected one"
                )
            kinds = [
                _features(paths[:, part], marginals[part], x[part], response, window)[:, seen]
                for paths in (samples, exact)
            ]
            flat = np.stack(kinds).reshape(-1, kinds[0].shape[-1])
            parts.append((flat, np.repeat([0, 1], len(flat) // 2)))
        (features, kind), (test_features, test_kind) = parts
        model.fit(features, kind)
        accuracy.append(float((model.predict(test_features) == test_kind).mean()))
    return float(np.mean(accuracy))


def _check(samples: Paths, exact: Paths, marginals: Array, x: Array, window: int) -> None:
    if samples.shape != exact.shape or samples.ndim != 3 or not samples.shape[0]:
        raise UserError(
            f"two-sample test: found samples of shape {samples.shape} and {exact.shape}, "
            "expected the same, (samples, trials, bins), and at least one sample"
        )
    for name, value in (("marginals", marginals), ("traces", x)):
        if value.shape != samples.shape[1:]:
            raise UserError(
                f"two-sample test: found {name} of shape {value.shape}, "
                f"expected the samples' trials and bins, {samples.shape[1:]}"
            )
    trials, bins = marginals.shape
    shortest = _PAIR_LAGS + 2
    if trials < 2 or not shortest <= window <= bins:
        raise UserError(
            f"two-sample test: found {trials} trials of {bins} bins in windows of {window}, "
            f"expected at least 2 trials and a window of at least {shortest} and at most all bins"
        )


def _windows(values: NDArray, window: int) -> NDArray:
    """``(..., B, T)`` → ``(..., B · (T // window), window)``."""
    *head, trials, bins = values.shape
    count = bins // window
    return values[..., : count * window].reshape(*head, trials * count, window)


def _features(z: Paths, p: Array, x: Array, response: Array, window: int) -> Array:
    """``(S, windows of all trials, features)``; see ``two_sample_accuracy``."""
    observed = _windows(np.isfinite(x), window)
    frames = np.maximum(observed.sum(1), 1)
    explained, expected = _misfit(z, x, response), _misfit(p, x, response)
    misfits = [_windows(a - b, window).sum(-1) / frames for a, b in zip(explained, expected, strict=True)]
    paths = _windows(z, window).astype(float)
    p = np.clip(_windows(p, window), 1e-6, 1 - 1e-6)
    residual, variance = paths - p, p * (1 - p)
    columns = [residual.sum(-1) / np.sqrt(variance.sum(1)), *misfits]
    context = [p.sum(1), variance.sum(1), _windows(expected[1], window).sum(1) / frames]
    for lag in range(1, _PAIR_LAGS + 1):
        scale = np.sqrt(_pairs(variance, lag))
        columns += [_pairs(residual, lag) / scale, _pairs(paths, lag)]
        context.append(_pairs(p, lag))
    columns.append((residual * (np.log(p) - np.log1p(-p))).sum(-1))
    columns.append(_longest_silence(paths))
    return np.stack(columns + [np.broadcast_to(value, columns[0].shape) for value in context], -1)


def _pairs(values: Array, lag: int) -> Array:
    """``Σ_t values[t] values[t + lag]`` within each window."""
    return (values[..., :-lag] * values[..., lag:]).sum(-1)


def _longest_silence(paths: Array) -> Array:
    """Longest run of bins without a spike in each window."""
    run = np.zeros(paths.shape[:-1])
    longest = np.zeros_like(run)
    for t in range(paths.shape[-1]):
        run = (run + 1) * (paths[..., t] == 0)
        longest = np.maximum(longest, run)
    return longest


def _delayed(z: NDArray, bins: int) -> Array:
    """``out[..., t] = z[..., t − bins]``, 0 before the trial."""
    out = np.zeros(z.shape)
    out[..., bins:] = z[..., : z.shape[-1] - bins]
    return out


def _response(z: Paths, x: Array) -> Array:
    """Least-squares response of the trace ``(B, T)`` to the spikes of paths ``(S, B, T)``.

    Returns:
        ``(lags + 1,)``: lag 0, 1, …, then a constant.
    """
    lags = range(min(_RESPONSE_BINS, z.shape[-1]))
    seen = np.broadcast_to(np.isfinite(x), z.shape)
    design = np.stack([_delayed(z, lag)[seen] for lag in lags] + [np.ones(int(seen.sum()))], -1)
    target = np.broadcast_to(x, z.shape)[seen]
    return np.asarray(np.linalg.lstsq(design, target, rcond=None)[0])


def _misfit(z: NDArray, x: Array, response: Array) -> tuple[Array, Array, Array]:
    """Residual of the trace, its square and its product with the next one, per bin; 0 where not observed."""
    residual = x - response[-1] - sum(weight * _delayed(z, lag) for lag, weight in enumerate(response[:-1]))
    residual = np.where(np.isfinite(x), residual, 0.0)
    following = np.zeros_like(residual)
    following[..., :-1] = residual[..., 1:]
    return residual, residual**2, residual * following
