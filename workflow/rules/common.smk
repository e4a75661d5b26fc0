"""Settings, experiments, paths, dependencies, urgency and the estimate: what the rules ask of the configurations."""

import csv
import hashlib
import os
import shlex
import sys
import zlib
from functools import cache
from pathlib import Path

from dfp.config import list_experiments, load_experiment
from dfp.core.errors import UserError, suggest
from dfp.core.read import read_yaml
from dfp.data.recordings import has_recordings, load_recordings
from dfp.job import start
from dfp.results.catalogue import FILE, read_catalogue
from dfp.stages.provenance import PACKAGE, code_hash
from dfp.stages.settings import read_settings
from dfp.stages.study import make_study

JOB = f"{shlex.quote(sys.executable)} -m dfp.job"
ROOT = Path(workflow.basedir)
CONFIGS = Path("experiments") if Path.cwd() == ROOT else ROOT / "experiments"

try:
    SETTINGS = read_settings(config)
    os.environ.update(DFP_RECORDINGS=SETTINGS.recordings)  # where dfp looks for them, here and in the jobs
    EXPERIMENTS = {
        name: load_experiment(CONFIGS / name / "config.yaml", SETTINGS.scale, SETTINGS.overrides)
        for name in list_experiments(ROOT)
    }
    for exp in EXPERIMENTS.values():
        if exp.kind == "study" and workflow.is_main_process:
            make_study(exp)  # refuses what it does not understand before anything is run
    CATALOGUE = CONFIGS / FILE
    # without one there is nothing to judge, unless an experiment judges claims
    if CATALOGUE.exists() or any((CONFIGS / name / "claims.py").exists() for name in EXPERIMENTS):
        read_catalogue(CONFIGS)
except UserError as error:
    print(f"configuration: {error}", file=sys.stderr)
    sys.exit(2)

# a variation of a scale has folders of its own, so that neither overwrites the other
PLACE = SETTINGS.scale + (f"-{Path(SETTINGS.overrides).stem}" if SETTINGS.overrides else "")
RESULTS = f"results/{PLACE}"
FIGURES = f"figures/{PLACE}"
COMMON = f"--scale {SETTINGS.scale}" + (
    f" --overrides {shlex.quote(SETTINGS.overrides)}" if SETTINGS.overrides else ""
)
RECORDED = has_recordings(SETTINGS.recordings)
AVAILABLE = {name: exp.available() for name, exp in EXPERIMENTS.items()}
PRESENT = [name for name, (present, _) in AVAILABLE.items() if present]
IN_ALL = [name for name in PRESENT if EXPERIMENTS[name].in_all]
ABLATIONS = [name for name in PRESENT if name.startswith("ablation_")]

if workflow.is_main_process:
    for name, (present, sentence) in AVAILABLE.items():
        if not present:
            print(sentence, file=sys.stderr)
            if name in sys.argv[1:]:  # asked for by name
                sys.exit(2)


def gpu_wanted():
    """1 where a GPU is to be used, so that the scheduler shares it out; a machine without one asks for none."""
    import torch

    if SETTINGS.device == "auto":
        return int(torch.cuda.is_available())
    return int(SETTINGS.device == "cuda")


GPU = gpu_wanted()


def table(name):
    return f"{RESULTS}/{name}/table.csv"


def figures(name, suffixes=("png", "pdf")):
    return [
        f"{FIGURES}/{name}/{figure}.{suffix}" for figure in EXPERIMENTS[name].figures for suffix in suffixes
    ]


def other_tables():
    """Tables that are no part of `all` but are there, with a hash each: their claims are judged too."""
    found = [name for name in PRESENT if name not in IN_ALL and Path(table(name)).is_file()]
    return {name: hashlib.sha256(Path(table(name)).read_bytes()).hexdigest()[:16] for name in found}


def metrics(wildcards):
    """The metrics of every run of an experiment, and of its peers."""
    name, exp = wildcards.experiment, EXPERIMENTS[wildcards.experiment]
    found = [f"{RESULTS}/{name}/runs/{run}/{dataset}/metrics.csv" for run, dataset in exp.jobs()]
    scored = filter(exp.peers_on, exp.scored)
    return found + [f"{RESULTS}/{name}/peers/{dataset}/metrics.csv" for dataset in scored]


def peer_settings(wildcards):
    """What the peers chose on a network that they are not scored on, if they have anything to choose."""
    found = EXPERIMENTS[wildcards.experiment].tuned_on(wildcards.dataset)
    return f"{RESULTS}/{wildcards.experiment}/peers/{found}/settings.json" if found else []


def warm_start(wildcards):
    """The checkpoint that a run starts from: a dependency between trainings."""
    above = EXPERIMENTS[wildcards.experiment].warm_start(wildcards.run)
    if above is None:
        return []
    return f"{RESULTS}/{wildcards.experiment}/runs/{above}/{wildcards.dataset}/checkpoint.pt"


def parts(name, *files):
    """Those of an experiment's own files that are there; what one imports from others is followed by code_hash."""
    return [path for path in (ROOT / "experiments" / name / file for file in files) if path.is_file()]


def recorded_files(wildcards):
    """Names and sizes of the recordings that a data set is read from; nothing for a simulation."""
    return recording_files() if EXPERIMENTS[wildcards.experiment].recorded else []


def recording_files():
    """Names and sizes of all recordings."""
    found = [path for path in Path(SETTINGS.recordings).rglob("*") if path.suffix in (".npz", ".mat")]
    return sorted(f"{path.name} {path.stat().st_size}" for path in found)


def pattern(names):
    return "|".join(names) or "(?!)"


def of_kind(*kinds):
    return [name for name, exp in EXPERIMENTS.items() if exp.kind in kinds]


def studies(alone):
    """Those that are measured with the machine to themselves, or the others."""
    return [name for name in of_kind("study") if EXPERIMENTS[name].document.alone == alone]


HELD = []  # what has to live as long as Snakemake does


def warm_up(jobs):
    """Start the process that jobs fork from (dfp.job), where they run on this machine and are worth it."""
    if workflow.local_exec and len(jobs) > 4:
        HELD.append(start())


@cache
def seconds_of(name):
    """Seconds that a training of each run took when the reference was made; where it has none, an even share."""
    exp = EXPERIMENTS[name]
    found = {run: [60 * exp.minutes / max(1, len(exp.jobs()))] for run in exp.runs}
    path = ROOT / "results" / "reference" / "default" / name / "table.csv"
    if path.is_file():
        took = {}
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                # a training that failed has none
                if row["metric"] == "train_seconds" and row["run"] in found and row["value"]:
                    took.setdefault(row["run"], []).append(float(row["value"]))
        found |= took
    return {run: sum(values) / len(values) for run, values in found.items()}


@cache
def urgency(name, run):
    """Seconds of a training and of the longest chain of trainings that start from it: the longest go first."""
    exp = EXPERIMENTS[name]
    after = [urgency(name, other) for other in exp.runs if exp.warm_start(other) == run]
    return seconds_of(name)[run] + max(after, default=0)


def data_urgency(wildcards):
    """That of the most urgent training that waits for a data set."""
    exp = EXPERIMENTS[wildcards.experiment]
    return 1 + max(
        (urgency(exp.name, run) for run, dataset in exp.jobs() if dataset == wildcards.dataset), default=0
    )


def estimate(jobs):
    """One sentence: the time that the trainings and measurements among ``jobs`` were estimated at."""
    waiting = {}
    jobs = list(jobs)
    for job in jobs:
        if job.rule.name in ("train", "study", "measure_alone", "collect"):
            waiting[job.wildcards.experiment] = waiting.get(job.wildcards.experiment, 0) + 1
    # a study or a table of tables is one job, whatever it trains
    whole = {
        name: 1 if exp.kind in ("study", "tables") else max(1, len(exp.jobs()))
        for name, exp in EXPERIMENTS.items()
    }
    minutes = {
        name: EXPERIMENTS[name].minutes * waiting[name] / whole[name]
        for name in EXPERIMENTS
        if name in waiting
    }
    weights = sum(job.rule.name == "pretrain" for job in jobs)
    if weights:
        minutes["weights"] = weights * (0.3 if SETTINGS.scale == "smoke" else 45)
    if not minutes:
        return f"scale {PLACE}: nothing to train; tables, figures and claims take under a minute"
    parts = ", ".join(f"{name} {value:.2g}" for name, value in minutes.items())
    return f"scale {PLACE}: about {sum(minutes.values()):.2g} minutes on 2 CPU cores ({parts})"
