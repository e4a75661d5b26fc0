"""The workflow: it plans at every scale, refuses bad settings in a sentence,
and runs from nothing to claims at the smoke scale.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from dfp.config import Experiment, list_experiments, load_experiment
from dfp.config.schema import RecordingsSpec
from dfp.core.errors import UserError
from dfp.stages.settings import read_settings

pytest.importorskip("snakemake")

ROOT = Path(__file__).resolve().parent.parent
PARTS = ("Snakefile", "workflow", "profiles", "experiments", "src")
INDICATORS = {"DS09": "GCaMP6f", "DS14": "GCaMP6s", "DS30": "GCaMP8f", "DS31": "GCaMP8m", "DS32": "GCaMP8s"}


#: loads once what takes seconds and is none of dfp, then forks for each dry run, which loads dfp itself
PLANNER = """
import json, os, sys
import pandas, scipy.stats, snakemake.cli, torch

for line in sys.stdin:
    asked = json.loads(line)
    child = os.fork()
    if not child:
        for number in (1, 2):
            os.dup2(os.open(asked["told"][number - 1], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        os.chdir(asked["where"])
        os.environ.clear()
        os.environ.update(asked["environ"])
        sys.path[0] = asked["environ"]["PYTHONPATH"]
        sys.argv = ["snakemake", *asked["arguments"]]
        code = 1
        try:
            snakemake.cli.main()
        except SystemExit as ended:
            code = ended.code or 0
        finally:
            sys.stdout.flush(), sys.stderr.flush()
            os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@cache
def planner() -> subprocess.Popen[str]:
    """The process that plans; it ends with the tests, whose end of the pipe it reads."""
    return subprocess.Popen(
        [sys.executable, "-c", PLANNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def plan(
    where: Path, arguments: tuple[str, ...], environ: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    """A dry run, by a fork of ``planner``."""
    process = planner()
    assert process.stdin is not None and process.stdout is not None
    with tempfile.TemporaryDirectory() as folder:
        told = [f"{folder}/out", f"{folder}/err"]
        asked = {"where": str(where), "arguments": arguments, "environ": environ, "told": told}
        process.stdin.write(json.dumps(asked) + "\n")
        process.stdin.flush()
        code = int(process.stdout.readline())
        out, err = (Path(name).read_text(encoding="utf-8") for name in told)
    return subprocess.CompletedProcess(arguments, code, out, err)


def snakemake(
    where: Path, *arguments: str, recordings: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Snakemake in a copy of the repository, whose own ``src`` it and its jobs import."""
    outside = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("WANDB", "DFP_", "SNAKEMAKE"))
    }
    outside |= {"PYTHONPATH": str(where / "src"), "DFP_RECORDINGS": str(recordings or where / "recordings")}
    if "-n" in arguments:
        return plan(where, arguments, outside)
    command = [sys.executable, "-m", "snakemake", *arguments]
    return subprocess.run(
        command, cwd=where, env=outside, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )


def planned(done: subprocess.CompletedProcess[str]) -> dict[str, int]:
    """Jobs by rule, from the table of a dry run; empty when nothing is to be done."""
    assert done.returncode == 0, done.stdout + done.stderr
    text = done.stdout + done.stderr
    if "Job stats:" not in text:
        assert "Nothing to be done" in text
        return {}
    table = text.split("Job stats:", 1)[1].split("total", 1)[0]
    return {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE)}


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository without any results; what numba has compiled comes along."""
    where = tmp_path_factory.mktemp("clone")
    for name in PARTS:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, where / name, ignore=shutil.ignore_patterns("*.egg-info"))
        else:
            shutil.copy(source, where / name)
    return where


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made-up recordings under the names of the real ones: 25 seconds
    each, a decaying response to every spike.
    """
    folder = tmp_path_factory.mktemp("recordings")
    rng = np.random.default_rng(3)
    (spec,) = load_experiment(ROOT / "experiments" / "recordings" / "config.yaml").datasets.values()
    assert isinstance(spec, RecordingsSpec)
    arrays: dict[str, dict[str, np.ndarray]] = {short: {} for short in INDICATORS}
    index = ["key,source_file"]
    for number, cell in enumerate(spec.cells):
        short, _, file = cell.partition("_")
        rate, seconds = 40.0, 25.0
        spikes = np.sort(rng.uniform(0.5, seconds - 0.5, 30))
        times = np.arange(int(seconds * rate)) / rate
        since = times[:, None] - spikes[None, :]
        calcium = np.where(since > 0, np.exp(-np.maximum(since, 0) / 0.4), 0.0).sum(1)
        dff = calcium + 0.2 * rng.standard_normal(len(times))
        key = f"{short}_c{number:02d}_s00"
        values = {"dff": dff.astype(np.float32), "spk": spikes, "dt": np.array(1 / rate)}
        arrays[short] |= {f"{key}_{name}": value for name, value in values.items()}
        index.append(f"{key},CAttached_{file}_mini.mat")
    for short, indicator in INDICATORS.items():
        np.savez(folder / f"{short}-{indicator}-m-V1.npz", **arrays[short])
    (folder / "index.csv").write_text("\n".join(index) + "\n", encoding="utf-8")
    return folder


def experiments(scale: str) -> list[Experiment]:
    return [
        load_experiment(ROOT / "experiments" / name / "config.yaml", scale) for name in list_experiments(ROOT)
    ]


@pytest.mark.parametrize("scale", ["smoke", "default", "paper"])
def test_everything_is_planned(copy: Path, recordings: Path, scale: str) -> None:
    found = planned(snakemake(copy, "-n", "-j4", "all", "--config", f"scale={scale}", recordings=recordings))
    wanted = [exp for exp in experiments(scale) if exp.in_all]
    assert len(wanted) >= 4
    trainings = sum(len(exp.jobs()) for exp in wanted if exp.kind not in ("study", "tables"))
    assert found["train"] == found["evaluate"] == trainings > 0
    measured = [exp.document.alone for exp in wanted if exp.kind == "study"]
    assert found.get("study", 0) == measured.count(False) > 0
    assert found.get("measure_alone", 0) == measured.count(True) > 0
    assert found.get("collect", 0) == sum(exp.kind == "tables" for exp in wanted)
    assert found["claims"] == 1
    assert {f"plot_{exp.name}" for exp in wanted} == {rule for rule in found if rule.startswith("plot_")}


def test_an_experiment_is_a_target(copy: Path) -> None:
    known = {exp.name: exp for exp in experiments("default")}
    found = planned(snakemake(copy, "-n", "-j4", "uncertainty"))
    assert found["train"] == len(known["uncertainty"].jobs())
    assert [rule for rule in found if rule.startswith("plot_")] == ["plot_uncertainty"]
    assert planned(snakemake(copy, "-n", "-j4", "wall_clock")) == {
        "measure_alone": 1,
        "plot_wall_clock": 1,
        "wall_clock": 1,
    }
    exact = planned(snakemake(copy, "-n", "-j4", "exact"))
    assert {"plot_uncertainty", "plot_ledger", "plot_coupled_instances", "plot_instances"} <= set(exact)
    ablations = planned(snakemake(copy, "-n", "-j4", "ablations"))
    assert {rule for rule in ablations if rule.startswith("plot_")} == {
        f"plot_{name}" for name in known if name.startswith("ablation_")
    }


def test_the_weights_are_a_target_of_their_own(copy: Path, recordings: Path, tmp_path: Path) -> None:
    """From simulations alone; with recordings too where there are some."""
    alone = snakemake(copy, "-n", "-j4", "-p", "weights", recordings=tmp_path / "none")
    assert planned(alone) == {"pretrain": 1, "weights": 1}
    assert "--recordings" not in alone.stdout + alone.stderr
    done = snakemake(copy, "-n", "-j4", "-p", "weights", "--config", "scale=smoke", recordings=recordings)
    assert planned(done) == {"pretrain": 2, "weights": 1}
    told = done.stdout + done.stderr
    begins = "--out results/smoke/weights/cells.npz --scale smoke"
    assert f"{begins} --start results/smoke/weights/simulations.npz --recordings" in told
    everything = snakemake(copy, "-n", "-j4", "all", "--config", "scale=smoke", recordings=recordings)
    assert "pretrain" not in planned(everything)


def test_an_experiment_without_plots_is_planned_and_told_of_by_its_stage(copy: Path) -> None:
    """Half-made experiments must not keep the others from running."""
    (copy / "experiments" / "peer_connectivity" / "plot.py").unlink()
    done = snakemake(copy, "-n", "-j4", "uncertainty")
    assert done.returncode == 0 and planned(done), done.stderr[-2000:]


def test_tables_outside_of_all_are_judged_where_they_are(copy: Path) -> None:
    """A peer table that is there changes the inputs of the claims; without it nothing is asked for."""
    done = snakemake(copy, "-n", "-j4", "all", "--config", "scale=smoke")
    assert "plot_peer_connectivity" not in planned(done)
    folder = copy / "results" / "smoke" / "peer_connectivity"
    folder.mkdir(parents=True)
    (folder / "table.csv").write_text("experiment\n")
    done = snakemake(copy, "-n", "-j4", "all", "--config", "scale=smoke")
    shutil.rmtree(folder)
    assert planned(done)["claims"] == 1 and "plot_peer_connectivity" not in planned(done)


def jobs(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """What a dry run says of the last job of each rule."""
    assert done.returncode == 0, done.stderr[-2000:]
    said = re.split(r"^(?:local)?rule (\w+):$", done.stdout + done.stderr, flags=re.MULTILINE)
    return dict(zip(said[1::2], said[2::2], strict=True))


def test_what_is_measured_against_the_clock_has_the_machine_and_a_process_to_itself(copy: Path) -> None:
    ordinary = ("--default-resources", "slurm_extra='--qos=mine'")
    told = jobs(snakemake(copy, "-n", "-p", "--cores", "4", "wall_clock", "ledger", *ordinary))
    alone, together = told["measure_alone"], told["study"]
    assert "DFP_WARM= " in alone and "--exclusive" in alone and "threads: 4" in alone
    assert "dfp.job" in together and "DFP_WARM" not in together and "threads: " not in together
    assert "--qos=mine" in together  # what a user's profile asks of Slurm


def test_a_training_without_a_time_does_not_keep_the_others_from_being_ordered(copy: Path) -> None:
    table = copy / "results" / "reference" / "default" / "uncertainty" / "table.csv"
    table.parent.mkdir(parents=True)
    table.write_text("run,metric,value\nlogistic_flow,train_seconds,\nlogistic_flow,train_seconds,1000\n")
    told = jobs(
        snakemake(copy, "-n", "-j4", "results/default/uncertainty/runs/logistic_flow/panel/checkpoint.pt")
    )
    shutil.rmtree(copy / "results" / "reference")
    assert "priority: 1000" in told["train"]


def test_a_missing_catalogue_of_claims_is_one_sentence(copy: Path) -> None:
    catalogue = copy / "experiments" / "claims.yaml"
    catalogue.rename(copy / "away.yaml")
    done = snakemake(copy, "-n", "-j4", "all", "--config", "scale=smoke")
    # no experiment that judges a claim, no catalogue: that is no mistake
    judging = list((copy / "experiments").glob("*/claims.py"))
    for path in judging:
        path.rename(path.with_suffix(".away"))
    without = snakemake(copy, "-n", "-j4", "all", "--config", "scale=smoke")
    for path in judging:
        path.with_suffix(".away").rename(path)
    (copy / "away.yaml").rename(catalogue)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "configuration: experiments/claims.yaml: no such file" in done.stderr
    assert planned(without)["claims"] == 1


def test_without_recordings_all_skips_and_the_target_refuses(copy: Path) -> None:
    done = snakemake(copy, "-n", "-j4", "all")
    assert "plot_recordings" not in planned(done)
    assert "no recordings in" in done.stderr and "DFP_RECORDINGS" in done.stderr
    asked = snakemake(copy, "-j4", "recordings")
    assert asked.returncode != 0
    assert asked.stderr.count("no recordings in") == 3  # one sentence an experiment that needs them
    assert "Traceback" not in asked.stderr and "Error" not in asked.stderr


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("scal=smoke", "unknown key 'scal' (did you mean 'scale'?)"),
        (
            "scale=smokey",
            "scale: found 'smokey' (did you mean 'smoke'?), expected one of smoke, default, paper",
        ),
        ("wandb=on", "wandb: found"),
        ("device=gpu", "device: found 'gpu' (did you mean 'cpu'?), expected one of auto, cpu, cuda"),
        ("overrides=missing.yaml", "missing.yaml: no such file"),
    ],
)
def test_a_bad_setting_is_one_sentence(copy: Path, setting: str, told: str) -> None:
    done = snakemake(copy, "-n", "-j4", "all", "--config", setting)
    assert done.returncode != 0
    lines = [
        line for line in done.stderr.splitlines() if not line.startswith("Using workflow specific profile")
    ]
    assert len(lines) == 1 and told in lines[0]
    assert not done.stdout.strip()


def test_a_misspelt_target_is_told(copy: Path) -> None:
    done = snakemake(copy, "-n", "-j4", "uncertanty")
    assert done.returncode != 0
    assert "no target 'uncertanty' (did you mean 'uncertainty'?)" in done.stderr
    for name in ("ablations", "plot_uncertainty"):
        assert "no target" not in snakemake(copy, "-n", "-j4", name).stderr


def test_settings() -> None:
    assert read_settings({}).scale == "default"
    with pytest.raises(UserError, match="scale"):
        read_settings({"scale": 3})


def test_a_folder_of_recordings_that_is_said_has_to_hold_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="elsewhere: no such folder of recordings"):
        read_settings({"recordings": str(tmp_path / "elsewhere")})
    with pytest.raises(UserError, match="holds no recordings, expected DS"):
        read_settings({"recordings": str(tmp_path)})
    monkeypatch.setenv("DFP_RECORDINGS", str(tmp_path / "elsewhere"))
    assert read_settings({}).recordings.endswith("elsewhere")


def test_overrides_have_folders_of_their_own(copy: Path) -> None:
    (copy / "mine.yaml").write_text("uncertainty:\n  defaults: {training: {steps: 7}}\n")
    done = snakemake(copy, "-n", "-j4", "uncertainty", "--config", "scale=smoke", "overrides=mine.yaml")
    assert planned(done)
    assert "results/smoke-mine/uncertainty/table.csv" in done.stdout + done.stderr
    assert "results/smoke/" not in done.stdout + done.stderr


def test_the_environment_file_names_what_pip_cannot_give() -> None:
    found = yaml.safe_load((ROOT / "environment.yml").read_text())
    plain = [entry for entry in found["dependencies"] if isinstance(entry, str)]
    assert [entry["pip"] for entry in found["dependencies"] if isinstance(entry, dict)] == [["-e .[dev]"]]
    assert any(entry.startswith("python") for entry in plain) and "pip" in plain
    rattler = pytest.importorskip("rattler")
    for entry in plain:
        rattler.MatchSpec(entry)


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1, (path, old)
    path.write_text(text.replace(old, new))


@pytest.mark.workflow
def test_from_nothing_to_claims(copy: Path, recordings: Path) -> None:
    """The whole smoke scale, then what reruns after an edit, then the report."""
    arguments = ("-j4", "all", "--config", "scale=smoke")
    # one experiment is mirrored in W&B, as is the default; each run of that costs a second
    mirrored = ("-j4", "uncertainty", "--config", "scale=smoke")
    wanted = [exp for exp in experiments("smoke") if exp.in_all]
    told = []
    for asked in (mirrored, (*arguments, "wandb=disabled")):
        done = snakemake(copy, *asked, recordings=recordings)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
        told += [line for line in done.stderr.splitlines() if "minutes on 2 CPU cores" in line]
    # what it was estimated to cost, told once a command; a study counts whole, though it is one job
    first, rest = told
    for exp in wanted:
        assert f"{exp.name} {exp.minutes:.2g}" in (first if exp.name == "uncertainty" else rest)
    # what was done is not done again for a setting that decides no number
    assert "uncertainty" not in rest

    results, figures = copy / "results" / "smoke", copy / "figures" / "smoke"
    for exp in (exp for exp in experiments("smoke") if exp.in_all):
        table = pd.read_csv(results / exp.name / "table.csv")
        assert set(table["experiment"]) == {exp.name} and set(table["scale"]) == {"smoke"}
        assert np.isfinite(table["value"]).any()
        if exp.kind not in ("study", "tables"):
            assert {run for run, _ in exp.jobs()} <= set(table["run"])
        for name in exp.figures:
            assert (figures / exp.name / f"{name}.png").read_bytes().startswith(b"\x89PNG")
            assert (figures / exp.name / f"{name}.pdf").read_bytes().startswith(b"%PDF")
    assert "oasis" in set(pd.read_csv(results / "recordings" / "table.csv")["run"])
    claims = pd.read_csv(results / "claims.csv")
    assert {"claim", "measured", "low", "high", "verdict"} <= set(claims.columns) and len(claims) > 3
    assert (results / "claims.md").read_text().startswith("# Claims")
    (uncertainty,) = [exp for exp in wanted if exp.name == "uncertainty"]
    assert len(list((copy / "wandb").glob("offline-run-*"))) >= len(uncertainty.jobs()) >= 10
    # what jobs took, told by themselves; an evaluation that loaded torch anew would take seconds
    took = [pd.read_csv(path, sep="\t") for path in (results / "benchmarks" / "evaluate").rglob("*.tsv")]
    assert took and np.median([usage["cpu_time"].item() for usage in took]) < 1

    def again(*more: str) -> dict[str, int]:
        return planned(snakemake(copy, "-n", *arguments, *more, recordings=recordings))

    assert again() == {}
    # settings that decide no number
    assert again("wandb=disabled", "device=cpu") == {}

    # words rerun nothing; code reruns what uses it: a figure's does not train, an objective's does
    source = copy / "src" / "dfp"
    (source / "training" / "loop.py").write_text(
        (source / "training" / "loop.py").read_text() + "\n# a comment\n"
    )
    assert again() == {}
    style = source / "plotting" / "style.py"
    before = style.read_text()
    style.write_text(before + "\nADDED = 1\n")
    redrawn = again()
    assert not {"train", "evaluate", "simulate", "aggregate", "study", "measure_alone"} & set(redrawn)
    assert [rule for rule in redrawn if rule.startswith("plot_")]
    style.write_text(before)
    loop = source / "training" / "loop.py"
    before = loop.read_text()
    loop.write_text(before + "\nADDED = 1\n")
    assert again()["train"] == sum(
        len(exp.jobs()) for exp in experiments("smoke") if exp.in_all and exp.kind not in ("study", "tables")
    )
    loop.write_text(before)

    # an experiment's own files too, and what others borrow of them: here flows' fits, by two studies
    own = [copy / "experiments" / name for name in ("flows/fits.py", "ledger/plot.py")]
    were = [path.read_text() for path in own]
    for path, text in zip(own, were, strict=True):
        path.write_text(text + "\nADDED = 1\n")
    redone = again()
    assert redone["study"] == 2 and not {"train", "evaluate", "simulate"} & set(redone)
    plots = {rule for rule in redone if rule.startswith("plot_")}
    assert plots == {"plot_flows", "plot_flow_vae", "plot_ledger"}
    for path, text in zip(own, were, strict=True):
        path.write_text(text)

    # one run's settings rerun that run, and what starts from it
    edit(
        copy / "experiments" / "uncertainty" / "config.yaml",
        "  logistic_flow:\n",
        "  logistic_flow:\n    seed: 5\n",
    )
    assert again()["train"] == 1

    done = snakemake(copy, "--report", "report.html", *arguments, recordings=recordings)
    assert done.returncode == 0, done.stderr[-3000:]
    page = (copy / "report.html").read_text(encoding="utf-8")
    assert len(page) > 100_000
    assert not re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=.?https?:", page)  # self-contained
