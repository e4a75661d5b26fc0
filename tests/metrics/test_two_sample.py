"""The two-sample test: blind where samples are exact, sharp where dependencies are missing."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from dfp.core.errors import UserError
from dfp.core.noise import generator
from dfp.metrics import two_sample
from dfp.metrics.two_sample import two_sample_accuracy
from dfp.references.exact.one_cell import CellParameters, ExactPosterior

TRIALS, BINS, SAMPLES = 16, 300, 32


@dataclass(frozen=True)
class Cell:
    parameters: CellParameters
    x: torch.Tensor
    exact: ExactPosterior

    def draw(self, seed: int, posterior: ExactPosterior | None = None) -> np.ndarray:
        return (posterior or self.exact).sample(SAMPLES, generator(seed))[..., 0].numpy()

    def accuracy(self, samples: np.ndarray, seed: int = 0, window: int = two_sample.WINDOW) -> float:
        marginals = self.exact.marginals[..., 0].numpy()
        trace = self.x[..., 0].numpy()
        return two_sample_accuracy(
            samples, self.draw(1000 + seed), marginals, trace, window=window, seed=seed
        )


@pytest.fixture(scope="module")
def cell() -> Cell:
    """Noisy, strongly refractory, traces from the model itself; a stretch of one trial is not observed."""
    one = torch.ones(1, dtype=torch.float64)
    parameters = CellParameters(
        bias=-1.5 * one,
        history=torch.tensor([[-3.0, -2.0, -1.0]], dtype=torch.float64),
        kernel=0.8 ** torch.arange(8, dtype=torch.float64)[None],
        amplitude=one,
        baseline=0 * one,
        noise=0.7 * one,
    )
    unseen = torch.full((TRIALS, BINS, 1), torch.nan, dtype=torch.float64)
    z = ExactPosterior(parameters, unseen).sample(1, generator(0))[0, ..., 0].numpy()
    calcium = np.stack([np.convolve(path, parameters.kernel[0].numpy())[:BINS] for path in z])
    x = torch.as_tensor(calcium + 0.7 * np.random.default_rng(0).normal(size=calcium.shape))[..., None]
    x[3, 40:90] = torch.nan
    return Cell(parameters, x, ExactPosterior(parameters, x))


def independent(cell: Cell, seed: int) -> np.ndarray:
    """Right marginals and nothing else."""
    p = cell.exact.marginals[..., 0]
    uniform = torch.rand((SAMPLES, *p.shape), generator=generator(seed), dtype=torch.float64)
    return (uniform < p).to(torch.int8).numpy()


def test_exact_samples_are_not_told_apart(cell: Cell) -> None:
    accuracy = [cell.accuracy(cell.draw(seed), seed) for seed in range(6)]
    assert abs(np.mean(accuracy) - 0.5) < 0.02
    assert max(abs(value - 0.5) for value in accuracy) < 0.04


def test_independent_samples_with_the_exact_marginals_are_caught(cell: Cell) -> None:
    accuracy = [cell.accuracy(independent(cell, seed), seed) for seed in range(2)]
    assert min(accuracy) > 0.65


def pilot(seed: int) -> Cell:
    """The cell of the one-cell experiments: rate 0.1 a bin, decay 0.8, noise 0.7, refractory −2, −1."""
    one = torch.ones(1, dtype=torch.float64)
    parameters = CellParameters(
        bias=-1.95 * one,
        history=torch.tensor([[-2.0, -1.0]], dtype=torch.float64),
        kernel=0.8 ** torch.arange(10, dtype=torch.float64)[None],
        amplitude=one,
        baseline=0 * one,
        noise=0.7 * one,
    )
    unseen = torch.full((TRIALS, BINS, 1), torch.nan, dtype=torch.float64)
    z = ExactPosterior(parameters, unseen).sample(1, generator(seed))[0, ..., 0].numpy()
    calcium = np.stack([np.convolve(path, parameters.kernel[0].numpy())[:BINS] for path in z])
    x = torch.as_tensor(calcium + 0.7 * np.random.default_rng(seed).normal(size=calcium.shape))[..., None]
    return Cell(parameters, x, ExactPosterior(parameters, x))


def log_probability(posterior: ExactPosterior, z: np.ndarray) -> np.ndarray:
    """``log p(z[t] | z[<t], x)`` of paths ``(S, B, T)``, from the logits that samples are drawn with."""
    logits, _ = posterior._backward(slice(0, z.shape[1]))
    paths = torch.as_tensor(z).permute(2, 1, 0).long()
    state, found = torch.zeros_like(paths[0]), []
    for t, spike in enumerate(paths):
        u = logits[t].gather(1, state)
        found.append(torch.nn.functional.logsigmoid(torch.where(spike > 0, u, -u)))
        state = ((state << 1) | spike) & (logits.shape[2] - 1)
    return torch.stack(found).permute(2, 1, 0).numpy()


@pytest.mark.parametrize(("share", "lowest"), [(0.0, 0.7), (0.8, 0.0)])
def test_it_comes_close_to_the_best_test_there_is(share: float, lowest: float) -> None:
    """The likelihood ratio knows both laws: hardly any test of a window does better. The trees know neither.

    Independent bins with the exact marginals (share 0): the ratio tells 75% of windows of 20 bins apart, the
    trees 73%. Refractoriness 20% too weak (share 0.8): 52% at best, so there is next to nothing to be found.
    """
    accuracies, best = [], []
    for seed in range(2):
        cell = pilot(seed)
        reference = cell.draw(1000 + seed)
        if share:
            wrong = replace(cell.parameters, history=share * cell.parameters.history)
            other = ExactPosterior(wrong, cell.x)
            samples = cell.draw(seed, other)
            ratio = [log_probability(other, z) - log_probability(cell.exact, z) for z in (samples, reference)]
        else:
            p = cell.exact.marginals[..., 0].numpy()
            samples = independent(cell, seed)
            ratio = [
                np.log(np.where(z, p, 1 - p)) - log_probability(cell.exact, z) for z in (samples, reference)
            ]
        told, kept = (two_sample._windows(values, two_sample.WINDOW).sum(-1) for values in ratio)
        best.append(((told > 0).mean() + (kept < 0).mean()) / 2)
        accuracies.append(cell.accuracy(samples, seed))
    assert np.mean(accuracies) > lowest
    assert np.mean(best) - 0.035 < np.mean(accuracies) < np.mean(best) + 0.02


def test_subtler_errors_are_caught_and_longer_windows_see_more(cell: Cell) -> None:
    free = replace(cell.parameters, history=0 * cell.parameters.history, bias=cell.parameters.bias - 0.8)
    vague = replace(cell.parameters, noise=1.3 * cell.parameters.noise)
    for wrong in (free, vague):
        samples = cell.draw(5, ExactPosterior(wrong, cell.x))
        short, long = (cell.accuracy(samples, window=window) for window in (20, 60))
        assert short > 0.57
        assert long > short


def test_dependencies_are_seen_where_the_trace_says_nothing() -> None:
    """Without a signal only refractoriness tells the paths apart: the pairs find it."""
    one = torch.ones(1, dtype=torch.float64)
    parameters = CellParameters(
        bias=-0.5 * one,
        history=torch.tensor([[-5.0]], dtype=torch.float64),
        kernel=one[None],
        amplitude=1e-6 * one,
        baseline=0 * one,
        noise=one,
    )
    x = torch.randn(TRIALS, BINS, 1, generator=generator(0), dtype=torch.float64)
    silent = Cell(parameters, x, ExactPosterior(parameters, x))
    assert silent.accuracy(independent(silent, 0)) > 0.8
    assert abs(silent.accuracy(silent.draw(1)) - 0.5) < 0.03


def test_accuracy_repeats_with_its_seed(cell: Cell) -> None:
    samples = independent(cell, 0)
    assert cell.accuracy(samples, 1) == cell.accuracy(samples, 1)


def test_training_and_test_trials_are_apart(monkeypatch: pytest.MonkeyPatch, cell: Cell) -> None:
    """Every fit and every score see windows of disjoint trials."""
    fitted, scored = [], []

    class Spy:
        def __init__(self, **_: object) -> None: ...

        def fit(self, features: np.ndarray, kind: np.ndarray) -> None:
            fitted.append(np.unique(features[:, -1]))  # the last feature is context: the trial's marginals
            assert kind.mean() == 0.5

        def predict(self, features: np.ndarray) -> np.ndarray:
            scored.append(np.unique(features[:, -1]))
            return np.zeros(len(features))

    monkeypatch.setattr("sklearn.ensemble.HistGradientBoostingClassifier", Spy)
    assert cell.accuracy(cell.draw(0)) == 0.5
    assert len(fitted) == 2
    for train, test in zip(fitted, scored, strict=True):
        assert not np.intersect1d(train, test).size
    # 40 to 90 of trial 3 is not observed: the windows 40–60 and 60–80 are left out, 80–100 is not
    assert sum(len(test) for test in scored) == TRIALS * (BINS // two_sample.WINDOW) - 2


def test_response_is_that_of_the_trace() -> None:
    rng = np.random.default_rng(0)
    z = (rng.random((2, 4, 400)) < 0.2).astype(np.int8)
    z[1] = z[0]
    kernel = np.array([1.0, 0.7, 0.2])
    x = np.stack([3 + 2 * np.convolve(path, kernel)[:400] for path in z[0]])
    x[1, 50:60] = np.nan
    response = two_sample._response(z, x)
    np.testing.assert_allclose(response[:3], 2 * kernel, atol=1e-9)
    np.testing.assert_allclose(response[3:-1], 0, atol=1e-9)
    assert response[-1] == pytest.approx(3)
    assert all(np.abs(misfit).max() < 1e-8 for misfit in two_sample._misfit(z, x, response))


def test_longest_silence_by_hand() -> None:
    paths = np.array([[0, 0, 1, 0, 0, 0], [1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0], [0, 0, 0, 1, 0, 1]])
    assert two_sample._longest_silence(paths).tolist() == [3, 0, 6, 3]


def test_mistakes_are_told_in_a_sentence(cell: Cell) -> None:
    samples = cell.draw(0)
    p, x = cell.exact.marginals[..., 0].numpy(), cell.x[..., 0].numpy()
    cases = [
        ((samples[:5], samples, p, x), 20, "found samples of shape"),
        ((samples[:0], samples[:0], p, x), 20, "expected .* at least one sample"),
        ((samples, samples, p[:, :50], x), 20, "found marginals of shape"),
        ((samples, samples, p, x[:4]), 20, "found traces of shape"),
        ((samples[:, :1], samples[:, :1], p[:1], x[:1]), 20, "found 1 trials"),
        ((samples, samples, p, x), 301, "windows of 301"),
        ((samples, samples, p, x), 3, "windows of 3"),
        ((samples, samples, p, np.full_like(x, np.nan)), 20, "found no observed"),
    ]
    for arguments, window, sentence in cases:
        with pytest.raises(UserError, match=sentence):
            two_sample_accuracy(*arguments, window=window)
