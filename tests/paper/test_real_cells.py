"""Real cells scored: conditions, merits, what a network never saw, others' scores, figures and claims."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from dfp.amortised import weights
from dfp.amortised.network import Network, Sizes
from dfp.config import load_experiment
from dfp.core.errors import UserError
from dfp.data.preprocess import noise_level
from dfp.data.recording import counted
from dfp.data.recordings import load_recordings
from dfp.results.judging import UNDECIDED
from dfp.results.tables import ResultTables
from dfp.stages.plot import load_plots
from dfp.stages.study import study
from experiments.real_cells.claims import JUDGES
from experiments.real_cells.conditions import Condition, fold_of, under
from experiments.real_cells.merits import point, samples, seconds_of
from experiments.real_cells.shown import _around
from experiments.real_cells.study import RealCells, _unseen

FOLDER = Path(__file__).parents[2] / "experiments" / "real_cells"
SMALL = Sizes((4, 4, 4), (3, 3, 3), 2, 2, 8, 8, 1)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two data sets of three cells each, 40 s at 60 Hz."""
    folder, rng = tmp_path_factory.mktemp("open"), np.random.default_rng(0)
    for name in ("DS30-GCaMP8f-m-V1", "DS14-GCaMP6s-m-V1"):
        arrays = {}
        for cell in range(3):
            spikes = np.sort(rng.uniform(0.5, 39.0, 30))
            time = np.arange(2400) / 60
            since = time[:, None] - spikes
            dff = 0.3 * np.where(since > 0, np.exp(-np.maximum(since, 0) / 0.5), 0).sum(1)
            key = f"{name[:4]}_c{cell:02d}_s00"
            arrays |= {f"{key}_dff": (dff + 0.02 * rng.normal(size=2400)).astype(np.float32)}
            arrays |= {f"{key}_spk": spikes, f"{key}_dt": np.array(1 / 60)}
        np.savez(folder / f"{name}.npz", **arrays)
    return folder


def weights_file(path: Path, left_out: list[str], learned: bool = True) -> Path:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Network(SMALL)
    sets = [{"data_set": "DS14"}] if learned else []
    weights.save(network, {"data_sets": sets, "left_out": left_out}, path)
    return path


@pytest.fixture(scope="module")
def results(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> ResultTables:
    folder = tmp_path_factory.mktemp("real_cells")
    folds = folder / "folds"
    weights_file(folds / "cell_0.npz", ["DS14_c00", "DS14_c01", "DS30_c02"])
    weights_file(folds / "cell_1.npz", ["DS14_c02", "DS30_c00", "DS30_c01"])
    weights_file(folds / "indicator_GCaMP8f.npz", ["GCaMP8f"])
    alone = weights_file(folder / "simulations.npz", [], learned=False)
    peers = folder / "peers"
    peers.mkdir()
    rows = {"key": ["DS14_c00_s00", "DS30_c01_s00", "DS99_c00_s00"], "ens2_r25": [0.5, 0.6, 0.7]}
    pd.DataFrame({**rows, "ens2_ratio": [1.0, 2.0, 3.0], "oasis_r25": [0.1] * 3}).to_csv(peers / "p.csv")
    overrides = folder / "over.yaml"
    overrides.write_text(
        f"real_cells: {{study: {{weights: ['{alone}'], folds: '{folds}', peer_scores: '{peers}'}}}}\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DFP_RECORDINGS", str(recordings))
        study(FOLDER / "config.yaml", "smoke", folder / "table.csv", "cpu", overrides)
    return ResultTables(folder)


def test_every_cell_is_scored_by_networks_that_never_saw_it(results: ResultTables) -> None:
    table = results.table[results.table["metric"] == "correlation"]
    cells = table.groupby(["run", "told"])["cell"].agg(sorted)
    two = ["DS14_c00", "DS30_c00"]  # the smoke scale takes one cell of each data set
    assert cells["cell", "indicator"] == cells["simulations", "nothing"] == two
    assert cells["indicator", "nothing"] == ["DS30_c00"]
    assert cells["oasis", "nothing"] == two
    assert cells["ens2", "nothing"] == ["DS14_c00"]


def test_what_a_network_never_saw_is_read_from_its_record(recordings: Path, tmp_path: Path) -> None:
    found = load_recordings(recordings)

    def unseen(left_out: list[str], learned: bool) -> set[str]:
        from dfp.amortised import load_pretrained

        return _unseen(load_pretrained(weights_file(tmp_path / "w.npz", left_out, learned)), found)

    everything = {one.name for one in found}
    assert unseen([], learned=False) == everything
    assert unseen([], learned=True) == set()
    assert unseen(["GCaMP8f"], learned=True) == {one for one in everything if one.startswith("DS30")}
    assert unseen(["DS14_c01", "DS77"], learned=True) == {"DS14_c01_s00"}


def test_figures_and_claims_are_made_of_the_table(results: ResultTables) -> None:
    module = load_plots(FOLDER)
    assert set(module.figures(results)) == set(load_experiment(FOLDER / "config.yaml", "smoke").figures)
    found = {name: list(judge(results)) for name, judge in JUDGES.items()}
    assert all(found[name] for name in ("P1", "P2", "P4"))
    assert all(one.outcome == UNDECIDED for one in found["P1"] if one.n < 2)


def test_a_condition_lowers_the_rate_and_raises_the_noise(recordings: Path) -> None:
    one = load_recordings(recordings)[0]
    scored = under(one, Condition(30.0, 4.0), 20.0)
    assert scored is not None and scored.frame_rate == 30.0 and len(scored.trace) == 600
    assert noise_level(scored.trace, 30.0) == pytest.approx(4.0, rel=0.02)
    again = under(one, Condition(30.0, 4.0), 20.0)
    assert again is not None and np.array_equal(scored.trace, again.trace)
    native = under(one, Condition(0, 0), 40.0)
    assert native is not None and np.array_equal(native.trace, one.dff.astype(float))
    assert under(one, Condition(120.0, 0), 40.0) is None  # frames cannot be added
    assert under(one, Condition(30.0, 0.1), 40.0) is None  # nor noise taken away
    silent = counted("DS01_c00_s00", "x", one.dff, 60.0, np.array([3.0]), "x")
    assert under(silent, Condition(), 40.0) is None


def test_counts_of_seconds_their_cover_and_ranks_are_right_by_hand() -> None:
    rng = np.random.default_rng(0)
    truth = np.array([1, 0, 0, 2, 0, 0, 0, 0])
    assert seconds_of(truth, 4.0).tolist() == [3, 0]
    drawn = np.repeat(truth[None], 20, 0)
    found = samples(drawn, truth, 4.0, rng)
    assert (found["found"], found["true"], found["cover"], found["active_cover"]) == (3, 3, 1, 1)
    assert found["active_width"] == 0 and found["log_score"] == 0
    none = samples(np.zeros_like(drawn), truth, 4.0, rng)
    assert (none["cover"], none["active_cover"], none["total_cover"]) == (0.5, 0, 0)
    many = rng.poisson(2.0, (99, 4000))
    ranks = samples(many[:98], many[98], 4.0, rng)["ranks"]
    assert np.asarray(ranks).mean() == pytest.approx(0.5, abs=0.03)


def test_what_the_weights_started_from_has_seen_counts_too(recordings: Path, tmp_path: Path) -> None:
    from dfp.amortised import load_pretrained

    found = load_recordings(recordings)
    network = load_pretrained(weights_file(tmp_path / "w.npz", ["GCaMP8f"]))
    network.provenance["start"] = {"data_sets": [{}], "left_out": ["DS30_c00"], "start": None}
    assert _unseen(network, found) == {"DS30_c00_s00"}


def test_a_silent_estimate_has_found_nothing() -> None:
    found = point(np.zeros(300), np.random.default_rng(0).poisson(0.1, 300), 30.0)
    assert found["correlation"] == 0 == found["lag_-2"]


def test_an_estimate_a_frame_late_is_best_at_that_lag() -> None:
    counts = np.random.default_rng(0).poisson(0.05, 3000)
    found = point(np.roll(counts, 1).astype(float), counts, 30.0)
    assert max((key for key in found if key.startswith("lag_")), key=found.__getitem__) == "lag_-1"


def test_sums_around_a_frame_hold_a_second() -> None:
    counts = np.arange(1, 8)[None]
    assert _around(counts, 3)[0].tolist() == [3, 6, 9, 12, 15, 18, 13]
    assert _around(counts, 4)[0].tolist() == [6, 10, 14, 18, 22, 18, 13]


def test_settings_without_meaning_are_refused() -> None:
    with pytest.raises(UserError, match="told: found 'all', expected some of indicator, nothing"):
        RealCells(told=["all"])
    with pytest.raises(UserError, match="conditions: found none"):
        RealCells(conditions={})
    with pytest.raises(UserError, match="rate_hz, noise"):
        Condition(-1.0)


def test_folds_are_about_a_third_each_and_hang_on_the_name_alone() -> None:
    cells = [f"DS{d:02d}_c{c:02d}" for d in range(30) for c in range(10)]
    shares = np.bincount([fold_of(cell) for cell in cells]) / len(cells)
    assert np.all(np.abs(shares - 1 / 3) < 0.1)
