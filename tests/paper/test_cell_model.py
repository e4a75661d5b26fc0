"""The law of a real cell: response, densities, fit, the rule of the priors, and the experiment."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.integrate import quad
from scipy.stats import multivariate_normal

from dfp.amortised.indicators import NAMES
from dfp.amortised.simulate import Cell, simulate_cell
from dfp.core.errors import UserError
from dfp.data.cascade import FOLDER_VARIABLE
from dfp.data.recordings import load_recordings
from dfp.results.tables import ResultTables
from dfp.stages.study import study
from experiments.cell_model.cells import cells_of
from experiments.cell_model.claims import JUDGES, gains
from experiments.cell_model.firing import KINDS, firing, log_likelihood
from experiments.cell_model.fit import RESPONSE, WITHOUT, Problem, fit_law, precision, published
from experiments.cell_model.law import Segment, log_densities, response
from experiments.cell_model.plot import figures
from experiments.cell_model.rule import PSEUDO, priors, priors_of, pull, spread
from experiments.cell_model.study import CellModel

CONFIG = Path("experiments/cell_model/config.yaml")
RATE = 30.0
TRUE = Cell(
    amplitude=0.3, decay=0.5, rise=0.05, power=1.5, rate_hz=0.8, noise=0.03, slow=0.05, slow_seconds=8.0
)


def segment(trace: np.ndarray, spikes: list[float] | np.ndarray, frame: float = 1 / RATE) -> Segment:
    first = np.arange(len(trace)) < len(trace) // 2
    return Segment(trace, np.asarray(spikes, float), frame, first)


def simulated(seconds: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A trace, and spike times within its frames."""
    trace, counts = simulate_cell(TRUE, int(seconds * RATE), 1 / RATE, seed)
    inside = np.random.default_rng(seed).random(counts.sum())
    return trace, np.sort((np.repeat(np.arange(len(counts)), counts) + inside) / RATE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two cells of GCaMP6s in two segments each, and one of an indicator that is not known."""
    made = tmp_path_factory.mktemp("recordings")
    for data_set, cells in {"DS14-GCaMP6s-m-V1": 2, "DS33-Interneurons2023-m-V1": 1}.items():
        arrays = {}
        for cell in range(cells):
            for number in range(2):
                trace, spikes = simulated(25.0, 10 * cell + number)
                key = f"{data_set[:4]}_c{cell:02d}_s{number:02d}"
                arrays |= {f"{key}_dff": trace.astype(np.float32), f"{key}_dt": np.array(1 / RATE)}
                arrays[f"{key}_spk"] = spikes - 0.5 / RATE  # there 0 is the middle of the first frame
        np.savez(made / f"{data_set}.npz", **arrays)
    return made


@pytest.fixture(scope="module")
def results(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> ResultTables:
    out = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(FOLDER_VARIABLE, str(folder))
        study(CONFIG, "smoke", out / "table.csv", "cpu")
    return ResultTables(out)


@pytest.mark.parametrize(("power", "saturation"), [(1.0, 0.0), (2.0, 0.0), (1.5, 0.3)])
def test_one_spike_peaks_at_one_and_without_saturation_falls_with_its_decay(
    power: float, saturation: float
) -> None:
    frame = 0.002
    shape = response(segment(np.zeros(2000), [0.5], frame), 0.4, 0.02, power, saturation)
    assert shape.max() == pytest.approx(1.0, abs=2e-3) and not shape[: int(0.5 / frame)].any()
    tail = shape[int(1.5 / frame)], shape[int(1.9 / frame)]
    if not saturation:
        assert tail[0] / tail[1] == pytest.approx(np.e, rel=0.01)


def test_two_spikes_at_once_bring_more_than_twice_one_where_the_response_is_supralinear() -> None:
    trace = np.zeros(2000)
    one, two = (
        response(segment(trace, spikes, 0.002), 0.4, 0.02, 1.5, 0.0) for spikes in ([0.5], [0.5, 0.5])
    )
    assert two.max() / one.max() == pytest.approx(2**1.5, rel=1e-6)


def test_frames_have_the_density_of_white_and_slow_gaussian_noise() -> None:
    rng = np.random.default_rng(0)
    residual, bright = rng.standard_normal(12), rng.random(12)
    residual[[3, 4]] = np.nan
    found = log_densities(residual, bright, 0.5, 0.7, 0.9, 3.0, np.inf, 0.4)
    ages = np.abs(np.subtract.outer(np.arange(12), np.arange(12))) * 0.5
    covariance = 0.9**2 * np.exp(-ages / 3.0) + np.diag(0.7**2 * (1 + 0.4 * bright))
    seen = np.isfinite(residual)
    law = multivariate_normal(np.zeros(seen.sum()), covariance[np.ix_(seen, seen)])
    assert found.sum() == pytest.approx(law.logpdf(residual[seen]))
    assert found[3] == found[4] == 0


@pytest.mark.parametrize("tail", [2.5, 8.0, np.inf])
def test_the_density_of_a_frame_given_those_before_it_is_one(tail: float) -> None:
    def density(last: float) -> float:
        values = np.array([0.3, -2.0, 0.8, last])
        return float(np.exp(log_densities(values, np.ones(4), 0.1, 0.5, 0.4, 1.0, tail, 0.2)[-1]))

    assert quad(density, -np.inf, np.inf, epsabs=1e-7)[0] == pytest.approx(1.0, abs=1e-5)


def test_a_fit_finds_the_constants_that_a_cell_was_made_with() -> None:
    trace, spikes = simulated(100.0)
    problem = Problem([segment(trace, spikes)], published("GCaMP6s"), whole=True)
    fitted = fit_law(problem)
    for name, within in {"amplitude": 0.2, "decay": 0.15, "rise": 0.3, "power": 0.15}.items():
        assert fitted.plain(name) == pytest.approx(getattr(TRUE, name), rel=within), name
    tail = fitted.plain("tail")  # Student's t of scale σ has the sd σ √(ν / (ν − 2))
    assert fitted.plain("noise") * np.sqrt(tail / (tail - 2)) == pytest.approx(TRUE.noise, rel=0.1)
    sd = 1 / np.sqrt(np.diag(precision(problem, fitted)))
    assert (sd[:4] < [0.2, 0.2, 0.4, 0.2]).all(), "a trace of some 80 spikes tells these"


def test_precise_cells_give_their_own_mean_and_spread_and_none_gives_the_published_row() -> None:
    rng = np.random.default_rng(0)
    mean, sd = np.zeros(2), np.array([0.5, 0.5])
    cells = np.array([2.0, -1.0]) + np.array([0.3, 0.6]) * rng.standard_normal((400, 2))
    curve = 1e6 * np.eye(2)
    mu, found, centres = spread([curve] * 400, list(cells @ curve), mean, sd)
    np.testing.assert_allclose(centres, cells, atol=1e-3)
    np.testing.assert_allclose(mu, cells.sum(0) / (400 + PSEUDO), atol=1e-3)
    assert found[1] == pytest.approx(0.6, rel=0.1) and 0.3 < found[0] < 0.4
    nothing = spread([], [], mean, sd)
    assert (nothing[0] == mean).all() and np.allclose(nothing[1], sd)


def test_the_law_of_a_fit_is_divided_out_where_the_trace_says_more_than_it() -> None:
    mean, sd = np.array([0.0, 0.0]), np.array([0.5, 0.5])
    sharp, peak = np.diag([4000.0, 9000.0]), np.array([1.0, -2.0])
    theta = np.linalg.solve(sharp + np.diag(1 / sd**2), sharp @ peak)  # the fit, pulled to the mean
    np.testing.assert_allclose(np.linalg.solve(sharp, pull(theta, sharp, mean, sd)), peak, rtol=1e-5)
    assert not pull(theta, np.zeros((2, 2)), mean, sd).any(), "a trace that says nothing does not pull"


def test_cells_that_say_nothing_do_not_move_the_rule() -> None:
    mean, sd = np.array([0.7]), np.array([0.5])
    mu, found, centres = spread([np.zeros((1, 1))] * 5, [np.zeros(1)] * 5, mean, sd)
    assert mu[0] == pytest.approx(0.7) and found[0] == pytest.approx(0.5)
    assert centres.ravel() == pytest.approx([0.7] * 5)


def test_the_intensity_of_a_poisson_process_is_its_rate_and_that_of_others_is_integrated() -> None:
    spikes = np.array([0.5, 0.51, 2.0, 3.3, 3.31, 3.32])
    one = segment(np.zeros(int(4 * RATE)), spikes)
    plain = np.array([np.log(0.9), -np.inf, -np.inf, 0.0, 0.0])
    assert log_likelihood([one], plain, first=True) == pytest.approx(2 * np.log(0.9) - 0.9 * 2)
    x = np.log([0.9, 0.3, 0.2, 0.01, 1.5])
    gains, times = np.exp(x[1:3]), np.exp(x[3:])

    def intensity(t: float) -> float:
        ages = t - spikes[spikes < t]
        return 0.9 + float((gains / times * np.exp(-ages[:, None] / times)).sum())

    grid = np.linspace(2, 4, 400_001)[:-1] + 2.5e-6
    whole = np.mean([intensity(t) for t in grid[::20]]) * 2
    exact = sum(np.log(intensity(t)) for t in spikes if t >= 2) - whole
    assert log_likelihood([one], x, first=False) == pytest.approx(exact, abs=0.02)


def test_bursts_are_told_from_a_poisson_process_on_later_spikes() -> None:
    rng = np.random.default_rng(0)
    single = np.sort(rng.random(100) * 100)
    bursts = np.sort(np.concatenate([single, single[::2] + 0.005, single[::2] + 0.011]))
    found = firing([segment(np.zeros(int(100 * RATE)), bursts)])
    assert set(found) == set(KINDS)
    assert found["bursts"] > found["poisson"] + 0.5
    poisson = firing([segment(np.zeros(int(100 * RATE)), single)])
    assert poisson["bursts"] == pytest.approx(poisson["poisson"], abs=0.05)


def test_a_cell_is_cut_where_half_of_its_spikes_have_fallen(folder: Path) -> None:
    recordings = load_recordings(folder)
    cells = list(cells_of(recordings, 60.0, 0.0, 3))
    assert [one.name for one in cells] == ["DS14_c00", "DS14_c01", "DS33_c00"]
    assert [one.indicator for one in cells] == ["GCaMP6s", "GCaMP6s", None]
    for one in cells:
        early = sum((part.spikes < part.first.sum() * part.frame).sum() for part in one.segments)
        most = max(
            np.histogram(s.spikes, np.arange(len(s.trace) + 1) * s.frame)[0].max() for s in one.segments
        )
        assert one.spikes / 2 <= early <= one.spikes / 2 + most
    assert sum(one.seconds for one in cells_of(recordings, 60.0, 30.0, 3)) == pytest.approx(90, abs=0.1)


def test_the_table_has_every_part_of_every_cell(results: ResultTables) -> None:
    for part in WITHOUT:
        assert len(gains(results, part)) == 2 and np.isfinite(gains(results, part)["gain"]).all()
    assert set(results.table["indicator"].dropna()) == {"GCaMP6s", "other"}
    rate = results.rows("rate_hz", run="cell")["value"]
    assert (rate > 0.2).all() and (rate < 3).all()


def test_the_study_writes_priors_in_the_columns_of_the_published_ones(results: ResultTables) -> None:
    made = pd.read_csv(results.folder / "priors.csv")
    shipped = pd.read_csv("src/dfp/amortised/priors_published.csv")
    assert list(made.columns) == list(shipped.columns)
    assert set(made["indicator"]) == set(NAMES)
    by_name, base = made.set_index("indicator"), shipped.set_index("indicator")
    assert by_name.loc["GCaMP6s", "cells"] == 1 and "DS14" in str(by_name.loc["GCaMP6s", "source"])
    numbers = [name for name in base.columns if name not in ("cells", "source")]
    same = by_name.loc["GCaMP8m", numbers].astype(float)
    np.testing.assert_allclose(same, base.loc["GCaMP8m", numbers].astype(float), rtol=0.01)
    for name in RESPONSE:
        assert made[name].gt(0).all()


def test_the_claims_and_the_figures_go_through(results: ResultTables) -> None:
    for judge in JUDGES.values():
        assert all(np.isfinite(one.value) for one in judge(results))
    assert len(list(JUDGES["M1"](results))) == 3
    assert list(figures(results)) == ["parts", "firing", "spread"]


def test_the_rule_leaves_out_what_it_is_told_to(folder: Path) -> None:
    recordings = load_recordings(folder)
    table = priors_of(recordings, ["DS14_c01"], fewest=3, steps=1).set_index("indicator")
    assert table.loc["GCaMP6s", "cells"] == 1
    without = priors_of(recordings, ["GCaMP6s"], fewest=3, steps=1)
    pd.testing.assert_frame_equal(without, priors([]))
    with pytest.raises(UserError, match="no recording of 'DS15'"):
        priors_of(recordings, ["DS15"])


def test_settings_without_meaning_are_refused() -> None:
    with pytest.raises(UserError, match="rate_hz, seconds, cells: found 0, 240, 0"):
        CellModel(rate_hz=0)
    with pytest.raises(UserError, match="fewest, steps: found 0, 80"):
        CellModel(fewest=0)
