"""The exact posterior against slow sums over every path, written independently of it."""

from __future__ import annotations

import itertools
import math
import time
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from cases import model
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from dfp.core.errors import UserError
from dfp.core.noise import generator
from dfp.distributions.enumeration import all_paths
from dfp.references.exact import one_cell as exact
from dfp.references.exact.one_cell import CellParameters, ExactPosterior, cell_parameters


def cells(count: int, history: int, kernel: int, seed: int, noise: float = 0.6) -> CellParameters:
    """Random cells that differ from each other."""
    rng = np.random.default_rng(seed)
    return CellParameters(
        bias=torch.as_tensor(rng.normal(-1, 1, count)),
        history=torch.as_tensor(rng.normal(-0.5, 1.5, (count, history))),
        kernel=torch.as_tensor(rng.uniform(0.1, 1, (count, kernel))),
        amplitude=torch.as_tensor(rng.uniform(0.5, 2, count)),
        baseline=torch.as_tensor(rng.normal(0, 1, count)),
        noise=torch.as_tensor(noise * rng.uniform(0.5, 1.5, count)),
    )


def traces(trials: int, bins: int, count: int, seed: int) -> Tensor:
    return torch.as_tensor(np.random.default_rng(seed).normal(0.7, 1.2, (trials, bins, count)))


def log_joint(z: tuple[int, ...], x: np.ndarray, parameters: CellParameters, n: int) -> float:
    """``log p(x, z)`` of one path of cell n, one bin after the other."""
    p = {field.name: getattr(parameters, field.name)[n].numpy() for field in fields(parameters)}
    total = 0.0
    for t, spike in enumerate(z):
        u = float(p["bias"])
        for lag in range(1, len(p["history"]) + 1):
            if t >= lag:
                u += p["history"][lag - 1] * z[t - lag]
        total += -math.log1p(math.exp(-u)) if spike else -math.log1p(math.exp(u))
        calcium = sum(p["kernel"][j] * z[t - j] for j in range(len(p["kernel"])) if t >= j)
        if not math.isnan(x[t]):
            total += stats.norm.logpdf(x[t], p["baseline"] + p["amplitude"] * calcium, p["noise"])
    return float(total)


def brute_force(x: np.ndarray, parameters: CellParameters, n: int) -> tuple[float, np.ndarray, np.ndarray]:
    """Log-evidence, all paths ``(2^T, T)`` and their posterior probabilities, for one trace ``(T,)``."""
    paths = list(itertools.product((0, 1), repeat=len(x)))
    joint = np.array([log_joint(path, x, parameters, n) for path in paths])
    top = joint.max()
    evidence = top + math.log(np.exp(joint - top).sum())
    return evidence, np.array(paths), np.exp(joint - evidence)


def assert_exact(parameters: CellParameters, x: Tensor) -> None:
    """Every number of the posterior, to 1e-10."""
    posterior = ExactPosterior(parameters, x)
    mean, sd = posterior.count_moments()
    for b, n in itertools.product(range(x.shape[0]), range(x.shape[2])):
        evidence, paths, weight = brute_force(x[b, :, n].numpy(), parameters, n)
        assert posterior.log_evidence[b, n].item() == pytest.approx(evidence, abs=1e-10, rel=1e-12)
        np.testing.assert_allclose(posterior.marginals[b, :, n].numpy(), weight @ paths, atol=1e-10)
        for lag in range(min(posterior.memory, x.shape[1])):
            both = weight @ (paths[:, lag:] * paths[:, : len(paths[0]) - lag])
            np.testing.assert_allclose(posterior.pairwise(lag)[b, :, n].numpy(), both, atol=1e-10)
        counts = paths.sum(1)
        average = weight @ counts
        assert mean[b, n].item() == pytest.approx(average, abs=1e-10)
        assert sd[b, n].item() ** 2 == pytest.approx(weight @ (counts - average) ** 2, abs=1e-10)


@pytest.mark.parametrize(
    ("history", "kernel", "bins"),
    [(2, 3, 9), (0, 4, 8), (5, 2, 8), (3, 3, 8), (1, 1, 8), (0, 1, 6), (2, 7, 4), (2, 10, 12)],
)
def test_every_number_agrees_with_the_sum_over_paths(history: int, kernel: int, bins: int) -> None:
    shape = (1, 1) if bins == 12 else (2, 2)
    assert_exact(cells(shape[1], history, kernel, seed=bins), traces(shape[0], bins, shape[1], seed=kernel))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    history=st.lists(st.floats(-6, 3), max_size=4),
    kernel=st.lists(st.floats(-1, 2), min_size=1, max_size=5),
    bias=st.floats(-6, 4),
    amplitude=st.floats(0.01, 10),
    baseline=st.floats(-3, 3),
    noise=st.floats(0.05, 5),
    x=st.lists(st.one_of(st.floats(-5, 15), st.just(math.nan)), min_size=1, max_size=7),
)
def test_random_cells_agree_with_the_sum_over_paths(
    history: list[float],
    kernel: list[float],
    bias: float,
    amplitude: float,
    baseline: float,
    noise: float,
    x: list[float],
) -> None:
    parameters = CellParameters(
        bias=torch.tensor([bias], dtype=torch.float64),
        history=torch.tensor([history], dtype=torch.float64),
        kernel=torch.tensor([kernel], dtype=torch.float64),
        amplitude=torch.tensor([amplitude], dtype=torch.float64),
        baseline=torch.tensor([baseline], dtype=torch.float64),
        noise=torch.tensor([noise], dtype=torch.float64),
    )
    assert_exact(parameters, torch.tensor(x, dtype=torch.float64).reshape(1, -1, 1))


@pytest.mark.parametrize(("history", "kernel_bins", "rise"), [(2, 4, 0.05), (3, 1, 0.0), (0, 5, 0.1)])
def test_it_is_the_posterior_of_the_calcium_network(history: int, kernel_bins: int, rise: float) -> None:
    """The network's own ``log_joint``, summed over every path: reference and model are the same model."""
    network = model(2, seed=kernel_bins, learn=(), kernel_bins=kernel_bins, history=history, rise=rise)
    x = traces(2, 9, 2, seed=history)
    x[1, 3] = math.nan
    paths = all_paths(9, 1).expand(-1, 2, -1, 2)
    joint = network.log_joint(x, paths).sum(2)  # (paths, B, N), as if each cell took every path
    posterior = ExactPosterior(cell_parameters(network), x)
    evidence = torch.logsumexp(joint, 0)
    torch.testing.assert_close(posterior.log_evidence, evidence, rtol=0, atol=1e-10)
    weight = (joint - evidence).exp()
    marginals = torch.einsum("pbn,pbtn->btn", weight, paths)
    torch.testing.assert_close(posterior.marginals, marginals, rtol=0, atol=1e-10)
    counts = paths.sum(2)
    mean = (weight * counts).sum(0)
    torch.testing.assert_close(posterior.count_moments()[0], mean, rtol=0, atol=1e-10)
    variance = (weight * (counts - mean) ** 2).sum(0)
    torch.testing.assert_close(posterior.count_moments()[1] ** 2, variance, rtol=0, atol=1e-10)


def test_every_sampled_path_says_the_evidence() -> None:
    """``log p(x, z) − log p(z | x) = log p(x)`` for every z, at a length that nobody can enumerate.

    p(z | x) is multiplied up from the logits that samples are drawn with; p(x, z) is this file's slow one.
    """
    parameters, x = cells(1, 3, 5, seed=11), traces(1, 60, 1, seed=11)
    x[0, 20:23] = math.nan
    posterior = ExactPosterior(parameters, x)
    logits, _ = posterior._backward(slice(0, 1))
    for path in posterior.sample(10, generator(4))[:, 0, :, 0].tolist():
        total, state = 0.0, 0
        for t, spike in enumerate(path):
            u = logits[t, 0, state].item()
            total -= math.log1p(math.exp(-u if spike else u))
            state = (state << 1 | spike) % 2**posterior.memory
        evidence = log_joint(tuple(path), x[0, :, 0].numpy(), parameters, 0) - total
        assert evidence == pytest.approx(posterior.log_evidence.item(), abs=1e-9)


def test_score_is_fishers_identity() -> None:
    """``∂ log p(x) = E[∂ log p(x, z) | x]``: differences of the evidence against the posterior's moments.

    For bias and history through pairs at lag 1; for amplitude, baseline and noise through pairs at every lag
    that the kernel reaches, as E[c] and E[c²] are sums of them.
    """
    parameters, x = cells(2, 1, 4, seed=12), traces(2, 400, 2, seed=12)
    posterior = ExactPosterior(parameters, x)
    p, kernel, scale = posterior.marginals, parameters.kernel, parameters.noise
    before = torch.cat([torch.zeros_like(p[:, :1]), p[:, :-1]], 1)  # P(z[t − 1] = 1)
    h = parameters.history[:, 0]
    calm, after = torch.sigmoid(parameters.bias), torch.sigmoid(parameters.bias + h)

    def pairs(i: int, j: int) -> Tensor:
        """P(z[t − i] = 1, z[t − j] = 1) for every t, 0 before the trial."""
        found = posterior.pairwise(abs(i - j))[:, : x.shape[1] - max(i, j)]
        return torch.cat([torch.zeros_like(p[:, : max(i, j)]), found], 1)

    lags = range(kernel.shape[1])
    mean = sum(kernel[:, i] * pairs(i, i) for i in lags)
    square = sum(kernel[:, i] * kernel[:, j] * pairs(i, j) for i, j in itertools.product(lags, lags))
    a, rest = parameters.amplitude, x - parameters.baseline
    misfit = rest**2 - 2 * a * rest * mean + a**2 * square  # E[(x − baseline − a c)²]
    score = {
        "bias": p - calm * (1 - before) - after * before,
        "history": pairs(0, 1) - after * before,
        "amplitude": (rest * mean - a * square) / scale**2,
        "baseline": (rest - a * mean) / scale**2,
        "noise": misfit / scale**3 - 1 / scale,
    }
    for name, expected in score.items():
        value, step = getattr(parameters, name), 1e-5
        moved = [replace(parameters, **{name: value + change}) for change in (step, -step)]
        up, down = (ExactPosterior(cell, x).log_evidence for cell in moved)
        torch.testing.assert_close((up - down) / (2 * step), expected.sum(1), rtol=1e-6, atol=1e-5)


def test_sixteen_trials_of_five_cells_take_seconds() -> None:
    parameters, x = cells(5, 2, 10, seed=13), traces(16, 300, 5, seed=13)
    start = time.process_time()
    ExactPosterior(parameters, x)
    assert time.process_time() - start < 10


def test_frames_that_are_not_observed_say_nothing() -> None:
    parameters, x = cells(2, 2, 3, seed=3), traces(2, 8, 2, seed=3)
    x[0, 2:4, 0] = math.nan
    x[:, 7] = math.nan
    x[1, :, 1] = math.nan
    assert_exact(parameters, x)
    posterior = ExactPosterior(parameters, x)
    assert posterior.log_evidence[1, 1].item() == pytest.approx(0, abs=1e-12)  # nothing seen: the prior


def test_samples_have_the_exact_marginals_pairs_and_counts() -> None:
    samples = 4000
    parameters, x = cells(2, 2, 4, seed=5, noise=1.2), traces(2, 60, 2, seed=5)
    posterior = ExactPosterior(parameters, x)
    z = posterior.sample(samples, generator(0))
    assert z.shape == (samples, 2, 60, 2)
    assert z.dtype == torch.int8
    z = z.double()
    pairs = [
        (z, posterior.marginals),
        (z[:, :, :-1] * z[:, :, 1:], posterior.pairwise(1)),
        (z[:, :, :-3] * z[:, :, 3:], posterior.pairwise(3)),
    ]
    for found, expected in pairs:
        normal = (expected > 0.005) & (expected < 0.995)  # where 4,000 samples have a normal mean
        deviation = (expected * (1 - expected) / samples).sqrt()
        scores = ((found.mean(0) - expected) / deviation)[normal]
        assert len(scores) > 60
        assert scores.abs().max() < 4.5
        assert 0.6 < scores.square().mean() < 1.4
    mean, sd = posterior.count_moments()
    counts = z.sum(2)
    assert ((counts.mean(0) - mean).abs() / sd * samples**0.5).max() < 4.5
    assert (counts.std(0) / sd - 1).abs().max() < 0.06


def test_whole_paths_are_drawn_with_their_exact_probabilities() -> None:
    parameters, x = cells(1, 1, 3, seed=8), traces(1, 6, 1, seed=9)
    _, paths, weight = brute_force(x[0, :, 0].numpy(), parameters, 0)
    z = ExactPosterior(parameters, x).sample(20_000, generator(1))[:, 0, :, 0].numpy()
    code = 2 ** np.arange(6)
    observed = np.bincount(z @ code, minlength=64)[paths @ code]
    common = weight * len(z) > 5
    observed = np.append(observed[common], observed[~common].sum())
    expected = np.append(weight[common], weight[~common].sum()) * len(z)
    assert len(observed) > 10
    assert stats.chisquare(observed, expected).pvalue > 1e-4


def test_samples_repeat_with_their_generator_and_leave_the_global_state_alone() -> None:
    posterior = ExactPosterior(cells(2, 1, 3, seed=1), traces(2, 12, 2, seed=1))
    before = torch.get_rng_state()
    first, again, other = (posterior.sample(5, generator(seed)) for seed in (2, 2, 3))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(before, torch.get_rng_state())


def test_long_trace_with_strong_signals_is_finite_and_finds_the_spikes() -> None:
    bins, rng = 2000, np.random.default_rng(0)
    kernel = 0.8 ** torch.arange(10, dtype=torch.float64)
    truth = (rng.random(bins) < 0.3).astype(float)
    calcium = np.convolve(truth, kernel.numpy())[:bins]
    x = torch.as_tensor(50 * calcium + 0.1 * rng.normal(size=bins)).reshape(1, -1, 1)
    one = torch.ones(1, dtype=torch.float64)
    parameters = CellParameters(
        bias=-2 * one,
        history=torch.tensor([[-2.0, -1.0]], dtype=torch.float64),
        kernel=kernel[None],
        amplitude=50 * one,
        baseline=0 * one,
        noise=0.1 * one,
    )
    posterior = ExactPosterior(parameters, x)
    np.testing.assert_allclose(posterior.marginals[0, :, 0].numpy(), truth, atol=1e-12)
    assert posterior.log_evidence.item() == pytest.approx(
        log_joint(tuple(truth.astype(int)), x[0, :, 0].numpy(), parameters, 0), rel=1e-10
    )
    mean, sd = posterior.count_moments()
    assert mean.item() == pytest.approx(truth.sum(), abs=1e-9)
    assert sd.item() < 1e-4
    # a trace that the model can hardly explain: frames thousands of sd away from any state
    wrong = ExactPosterior(parameters, -3 * x)
    for value in (wrong.log_evidence, wrong.marginals, *wrong.count_moments(), wrong.pairwise(2)):
        assert torch.isfinite(value).all()


def test_long_trace_agrees_with_a_plain_forward_filter() -> None:
    """2,000 bins: log-evidence by a filter over tuples of past spikes, marginals by its derivative."""
    parameters, x = cells(1, 2, 3, seed=4), traces(1, 2000, 1, seed=4)
    p = {field.name: getattr(parameters, field.name)[0].numpy() for field in fields(parameters)}
    states = list(itertools.product((0, 1), repeat=3))  # most recent first

    def evidence(tilted: int, tilt: float) -> float:
        """``log E[exp(tilt · z[tilted])]`` added to the log-evidence."""
        weight = {state: 1.0 if not any(state) else 0.0 for state in states}
        total = 0.0
        for t, frame in enumerate(x[0, :, 0].numpy()):
            new = dict.fromkeys(states, 0.0)
            for state, mass in weight.items():
                rate = 1 / (1 + math.exp(-(p["bias"] + p["history"] @ state[:2])))
                for spike in (0, 1):
                    after = (spike, *state[:2])
                    mean = p["baseline"] + p["amplitude"] * (p["kernel"] @ after)
                    density = math.exp(-0.5 * ((frame - mean) / p["noise"]) ** 2) / p["noise"]
                    factor = math.exp(tilt) if spike and t == tilted else 1.0
                    new[after] += mass * (rate if spike else 1 - rate) * density * factor
            scale = sum(new.values())
            total += math.log(scale / math.sqrt(2 * math.pi))
            weight = {state: mass / scale for state, mass in new.items()}
        return total

    posterior = ExactPosterior(parameters, x)
    plain = evidence(-1, 0.0)
    assert posterior.log_evidence.item() == pytest.approx(plain, rel=1e-12)
    for t in (0, 700, 1999):
        # E[exp(s z)] = 1 + P (exp(s) − 1) exactly, s = ln 2
        probability = math.exp(evidence(t, math.log(2.0)) - plain) - 1
        assert posterior.marginals[0, t, 0].item() == pytest.approx(probability, abs=1e-9)


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    parameters, x = cells(3, 2, 5, seed=6), traces(3, 20, 3, seed=6)
    whole = ExactPosterior(parameters, x)
    monkeypatch.setattr(exact, "_CHUNK_BYTES", 25_000)  # two of nine chains at a time
    parts = ExactPosterior(parameters, x)
    assert len(list(parts._chunks())) == 5
    for a, b in [
        (whole.log_evidence, parts.log_evidence),
        (whole.marginals, parts.marginals),
        (whole.pairwise(4), parts.pairwise(4)),
        (whole.count_moments()[1], parts.count_moments()[1]),
    ]:
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)
    z = parts.sample(3000, generator(0)).double()
    assert (z.mean(0) - whole.marginals).abs().max() < 5 * 0.5 / 3000**0.5


def test_cells_do_not_touch_each_other() -> None:
    parameters, x = cells(3, 2, 4, seed=7), traces(2, 15, 3, seed=7)
    together = ExactPosterior(parameters, x)
    for n in range(3):
        one = {field.name: getattr(parameters, field.name)[n : n + 1] for field in fields(parameters)}
        alone = ExactPosterior(CellParameters(**one), x[..., n : n + 1])
        torch.testing.assert_close(alone.marginals[..., 0], together.marginals[..., n], rtol=0, atol=1e-13)
        torch.testing.assert_close(alone.log_evidence[:, 0], together.log_evidence[:, n], rtol=1e-13, atol=0)


def test_longest_memory_is_taken_and_a_longer_one_refused() -> None:
    x = traces(1, 5, 1, seed=0)
    assert_exact(cells(1, 1, 16, seed=0), x)
    for history, kernel in ((2, 17), (17, 3)):
        with pytest.raises(UserError, match="found a memory of 17 bins, expected at most 16"):
            ExactPosterior(cells(1, history, kernel, seed=0), x)


def test_mistakes_are_told_in_a_sentence() -> None:
    parameters = cells(2, 2, 3, seed=0)
    with pytest.raises(UserError, match=r"traces of shape \(1, 5, 3\), expected \(trials, bins, 2 cells\)"):
        ExactPosterior(parameters, traces(1, 5, 3, seed=0))
    with pytest.raises(UserError, match=r"traces of shape \(1, 0, 2\)"):
        ExactPosterior(parameters, torch.zeros(1, 0, 2))
    posterior = ExactPosterior(parameters, traces(1, 5, 2, seed=0))
    for lag in (-1, 3):
        with pytest.raises(UserError, match=f"found {lag} bins, expected 0 to 2"):
            posterior.pairwise(lag)
    wrong = {
        "history": (parameters.history[:1], r"history: found shape \(1, 2\), expected \(2, bins\)"),
        "amplitude": (parameters.amplitude[:, None], r"amplitude: found shape \(2, 1\), expected \(2,\)"),
        "kernel": (parameters.kernel[:, :0], "kernel: found 0 bins"),
        "noise": (parameters.noise * 0, "noise: found 0, expected numbers above 0"),
        "bias": (parameters.bias.float(), "bias: found torch.float32, expected torch.float64"),
        "baseline": (parameters.baseline * math.nan, "baseline: found a value that is not finite"),
    }
    for name, (value, sentence) in wrong.items():
        with pytest.raises(UserError, match=sentence):
            replace(parameters, **{name: value})


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_gives_the_same_numbers() -> None:
    parameters, x = cells(2, 2, 6, seed=2), traces(3, 60, 2, seed=2)
    here = ExactPosterior(parameters, x)
    moved = {field.name: getattr(parameters, field.name).cuda() for field in fields(parameters)}
    there = ExactPosterior(CellParameters(**moved), x.cuda())
    torch.testing.assert_close(there.log_evidence.cpu(), here.log_evidence, rtol=1e-12, atol=0)
    torch.testing.assert_close(there.marginals.cpu(), here.marginals, rtol=0, atol=1e-11)
    torch.testing.assert_close(there.count_moments()[1].cpu(), here.count_moments()[1], rtol=1e-9, atol=0)
    z = there.sample(4000, generator(0, "cuda"))
    assert (z.double().mean(0).cpu() - here.marginals).abs().max() < 5 * 0.5 / 4000**0.5
