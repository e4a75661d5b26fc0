"""Every table, figure and claim, from nothing: `snakemake -j4 all`.

One rule a stage of `dfp`, the same for all experiments; what there is to do is read from experiments/*/config.yaml.
Configuration (--config key=value): scale, wandb, device, recordings, overrides. See the README.
"""

import os
import sys
from pathlib import Path

from dfp.config import list_experiments, load_experiment
from dfp.core.errors import UserError
from dfp.stages.provenance import code_hash, file_hash
from dfp.stages.settings import read_settings

PYTHON = sys.executable
ROOT = Path(workflow.basedir)


def stop(sentence):
    """A user's mistake: one sentence, no traceback."""
    print(sentence, file=sys.stderr)
    sys.exit(2)


try:
    SETTINGS = read_settings(config)
    os.environ["DFP_RECORDINGS"] = SETTINGS.recordings
    EXPERIMENTS = {
        name: load_experiment(
            Path("experiments") / name / "config.yaml", SETTINGS.scale, SETTINGS.overrides
        )
        for name in list_experiments()
    }
except UserError as error:
    stop(f"configuration: {error}")

RESULTS = f"results/{SETTINGS.scale}"
FIGURES = f"figures/{SETTINGS.scale}"
OVERRIDES = f"--overrides {SETTINGS.overrides}" if SETTINGS.overrides else ""
COMMON = f"--scale {SETTINGS.scale} {OVERRIDES}"
PRESENT = [name for name, exp in EXPERIMENTS.items() if exp.available()[0]]
IN_ALL = [name for name in PRESENT if EXPERIMENTS[name].in_all]
KIND = {kind: [name for name, exp in EXPERIMENTS.items() if exp.kind == kind] for kind in ("recordings", "timing")}


def gpu_wanted():
    """1 where training would use a GPU, so that one job has it at a time; a machine without one asks for none."""
    import torch

    return int(SETTINGS.device != "cpu" and torch.cuda.is_available())


GPU = gpu_wanted()


def table(name):
    return f"{RESULTS}/{name}/table.csv"


def figures(name):
    return [f"{FIGURES}/{name}/{figure}.{suffix}" for figure in EXPERIMENTS[name].figures for suffix in ("png", "pdf")]


def metrics(name):
    """The metrics of every run of an experiment, and of its peers."""
    exp = EXPERIMENTS[name]
    found = [f"{RESULTS}/{name}/runs/{run}/{dataset}/metrics.csv" for run, dataset in exp.jobs()]
    if exp.kind == "recordings":
        found += [f"{RESULTS}/{name}/peers/oasis/{dataset}/metrics.csv" for dataset in exp.datasets]
    return found


def warm_start(wildcards):
    """The checkpoint that a run starts from: a dependency between trainings."""
    above = EXPERIMENTS[wildcards.experiment].warm_start(wildcards.run)
    return f"{RESULTS}/{wildcards.experiment}/runs/{above}/{wildcards.dataset}/checkpoint.pt" if above else []


def pattern(names):
    return "|".join(names) or "(?!)"


wildcard_constraints:
    experiment=pattern(EXPERIMENTS),
    run="[^/]+",
    dataset="[^/]+",


onstart:
    minutes = sum(EXPERIMENTS[name].minutes for name in IN_ALL)
    print(f"scale {SETTINGS.scale}: `all` was estimated at {minutes:g} minutes on 2 CPU cores", file=sys.stderr)
    for name in EXPERIMENTS:
        if name not in PRESENT:
            print(EXPERIMENTS[name].available()[1], file=sys.stderr)


localrules:
    all,
    ablations,


rule all:
    input:
        f"{RESULTS}/claims.csv",
        [table(name) for name in IN_ALL],
        [figures(name) for name in IN_ALL],
    default_target: True


rule ablations:
    input:
        [[table(name), *figures(name)] for name in PRESENT if name.startswith("ablation_")],


for experiment_name in PRESENT:

    rule:
        name:
            experiment_name
        input:
            table(experiment_name),
            figures(experiment_name),


rule simulate:
    output:
        f"{RESULTS}/{{experiment}}/data/{{dataset}}.npz",
    params:
        code=code_hash("dfp.data.simulate", "dfp.config.networks", "dfp.stages.recorded"),
        spec=lambda w: EXPERIMENTS[w.experiment].data_fingerprint(w.dataset),
    log:
        f"{RESULTS}/logs/simulate/{{experiment}}/{{dataset}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/simulate/{{experiment}}/{{dataset}}.tsv"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
        gpu=0,
    shell:
        "{PYTHON} -m dfp.cli simulate --experiment experiments/{wildcards.experiment}/config.yaml {COMMON}"
        " --dataset {wildcards.dataset} --out {output} > {log} 2>&1"


rule train:
    input:
        data=f"{RESULTS}/{{experiment}}/data/{{dataset}}.npz",
        start=warm_start,
    output:
        f"{RESULTS}/{{experiment}}/runs/{{run}}/{{dataset}}/checkpoint.pt",
        f"{RESULTS}/{{experiment}}/runs/{{run}}/{{dataset}}/history.csv",
        f"{RESULTS}/{{experiment}}/runs/{{run}}/{{dataset}}/summary.json",
    params:
        code=code_hash("dfp.stages.train"),
        spec=lambda w: EXPERIMENTS[w.experiment].run_fingerprint(w.run, w.dataset),
        start=lambda w, input: f"--warm-start {input.start}" if input.start else "",
    log:
        f"{RESULTS}/logs/train/{{experiment}}/{{run}}/{{dataset}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/train/{{experiment}}/{{run}}/{{dataset}}.tsv"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=240,
        gpu=GPU,
    shell:
        "{PYTHON} -m dfp.cli train --experiment experiments/{wildcards.experiment}/config.yaml {COMMON}"
        " --run {wildcards.run} --dataset {wildcards.dataset} --data {input.data} {params.start} --out {output[0]}"
        " --device {SETTINGS.device} --wandb {SETTINGS.wandb} > {log} 2>&1"


rule evaluate:
    input:
        checkpoint=f"{RESULTS}/{{experiment}}/runs/{{run}}/{{dataset}}/checkpoint.pt",
        data=f"{RESULTS}/{{experiment}}/data/{{dataset}}.npz",
        summary=f"{RESULTS}/{{experiment}}/runs/{{run}}/{{dataset}}/summary.json",
    output:
        f"{RESULTS}/{{experiment}}/runs/{{run}}/{{dataset}}/metrics.csv",
    params:
        code=code_hash("dfp.stages.evaluate"),
    log:
        f"{RESULTS}/logs/evaluate/{{experiment}}/{{run}}/{{dataset}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/evaluate/{{experiment}}/{{run}}/{{dataset}}.tsv"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
        gpu=GPU,
    shell:
        "{PYTHON} -m dfp.cli evaluate --checkpoint {input.checkpoint} --data {input.data} --out {output}"
        " --device {SETTINGS.device} > {log} 2>&1"


rule peers:
    input:
        f"{RESULTS}/{{experiment}}/data/{{dataset}}.npz",
    output:
        f"{RESULTS}/{{experiment}}/peers/oasis/{{dataset}}/metrics.csv",
    params:
        code=code_hash("dfp.stages.peers"),
    log:
        f"{RESULTS}/logs/peers/{{experiment}}/{{dataset}}.log",
    wildcard_constraints:
        experiment=pattern(KIND["recordings"]),
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
        gpu=0,
    shell:
        "{PYTHON} -m dfp.cli peers --experiment experiments/{wildcards.experiment}/config.yaml {COMMON}"
        " --dataset {wildcards.dataset} --data {input} --out {output} > {log} 2>&1"


rule aggregate:
    input:
        lambda w: metrics(w.experiment),
    output:
        f"{RESULTS}/{{experiment}}/table.csv",
    params:
        code=code_hash("dfp.stages.aggregate"),
    log:
        f"{RESULTS}/logs/aggregate/{{experiment}}.log",
    wildcard_constraints:
        experiment=pattern([name for name in EXPERIMENTS if name not in KIND["timing"]]),
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
        gpu=0,
    shell:
        "{PYTHON} -m dfp.cli aggregate --inputs {input} --out {output} > {log} 2>&1"


# wall-clock time is measured alone on the machine: the job takes every core that there is
rule measure_time:
    output:
        f"{RESULTS}/{{experiment}}/table.csv",
    params:
        code=code_hash("dfp.stages.timing"),
        spec=lambda w: EXPERIMENTS[w.experiment].timing,
    log:
        f"{RESULTS}/logs/timing/{{experiment}}.log",
    wildcard_constraints:
        experiment=pattern(KIND["timing"]),
    threads: workflow.cores or 1
    resources:
        mem_mb=4000,
        runtime=240,
        gpu=GPU,
    shell:
        "{PYTHON} -m dfp.cli timing --experiment experiments/{wildcards.experiment}/config.yaml {COMMON}"
        " --out {output} --device {SETTINGS.device} > {log} 2>&1"


for experiment_name in PRESENT:

    rule:
        name:
            f"plot_{experiment_name}"
        input:
            table(experiment_name),
        output:
            report(
                [path for path in figures(experiment_name) if path.endswith(".png")],
                category=experiment_name,
                caption="workflow/captions/figure.rst",
            ),
            [path for path in figures(experiment_name) if path.endswith(".pdf")],
        params:
            experiment=experiment_name,
            names=EXPERIMENTS[experiment_name].figures,
            code=code_hash("dfp.stages.plot"),
            own=file_hash(ROOT / "experiments" / experiment_name / "plot.py"),
        log:
            f"{RESULTS}/logs/plot/{experiment_name}.log",
        threads: 1
        resources:
            mem_mb=1000,
            runtime=10,
            gpu=0,
        shell:
            "{PYTHON} -m dfp.cli plot --experiment experiments/{params.experiment}/config.yaml"
            " --results {RESULTS}/{params.experiment} --out {FIGURES}/{params.experiment}"
            " --figures {params.names} --wandb {SETTINGS.wandb} > {log} 2>&1"


rule claims:
    input:
        [table(name) for name in IN_ALL],
    output:
        report(f"{RESULTS}/claims.csv", category="claims", caption="workflow/captions/claims.rst"),
        f"{RESULTS}/claims.md",
    params:
        code=code_hash("dfp.stages.claims"),
    log:
        f"{RESULTS}/logs/claims.log",
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
        gpu=0,
    shell:
        "{PYTHON} -m dfp.cli claims --results {RESULTS} --out {output[0]} > {log} 2>&1"
