"""From a configuration to the metrics of each run."""


rule simulate:
    output:
        f"{RESULTS}/{{experiment}}/data/{{dataset}}.npz",
    log:
        text=f"{RESULTS}/logs/simulate/{{experiment}}/{{dataset}}.log",
        usage=f"{RESULTS}/benchmarks/simulate/{{experiment}}/{{dataset}}.tsv",
    priority: data_urgency
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
        gpu=0,
    params:
        code=code_hash("dfp.stages.simulate"),
        spec=lambda w: EXPERIMENTS[w.experiment].data_fingerprint(w.dataset),
        files=recorded_files,
    shell:
        "{JOB} --usage {log.usage} simulate --experiment {CONFIGS}/{wildcards.experiment}/config.yaml {COMMON}"
        " --dataset {wildcards.dataset} --out {output} > {log.text} 2>&1"


# a training that was cut off resumes from progress.pt beside the checkpoint, which is no output and so survives
rule train:
    input:
        data=f"{RESULTS}/{{experiment}}/data/{{dataset}}.npz",
        start=warm_start,
    output:
        checkpoint=f"{RESULTS}/{{experiment}}/runs/{{run}}/{{dataset}}/checkpoint.pt",
        history=f"{RESULTS}/{{experiment}}/runs/{{run}}/{{dataset}}/history.csv",
        config=f"{RESULTS}/{{experiment}}/runs/{{run}}/{{dataset}}/config.json",
        summary=f"{RESULTS}/{{experiment}}/runs/{{run}}/{{dataset}}/summary.json",
    log:
        text=f"{RESULTS}/logs/train/{{experiment}}/{{run}}/{{dataset}}.log",
        usage=f"{RESULTS}/benchmarks/train/{{experiment}}/{{run}}/{{dataset}}.tsv",
    priority: lambda w: urgency(w.experiment, w.run)
    threads: 1
    resources:
        mem_mb=4000,
        runtime=240,
        gpu=GPU,
    params:
        code=code_hash("dfp.stages.train"),
        spec=lambda w: EXPERIMENTS[w.experiment].run_fingerprint(w.run, w.dataset),
        start=lambda w, input: f"--warm-start {input.start}" if input.start else "",
    shell:
        "{JOB} --usage {log.usage} train --experiment {CONFIGS}/{wildcards.experiment}/config.yaml {COMMON}"
        " --run {wildcards.run} --dataset {wildcards.dataset} --data {input.data} {params.start}"
        " --out {output.checkpoint} --device {SETTINGS.device} --wandb {SETTINGS.wandb} > {log.text} 2>&1"


rule evaluate:
    input:
        checkpoint=f"{RESULTS}/{{experiment}}/runs/{{run}}/{{dataset}}/checkpoint.pt",
        summary=f"{RESULTS}/{{experiment}}/runs/{{run}}/{{dataset}}/summary.json",
        data=f"{RESULTS}/{{experiment}}/data/{{dataset}}.npz",
    output:
        f"{RESULTS}/{{experiment}}/runs/{{run}}/{{dataset}}/metrics.csv",
    log:
        text=f"{RESULTS}/logs/evaluate/{{experiment}}/{{run}}/{{dataset}}.log",
        usage=f"{RESULTS}/benchmarks/evaluate/{{experiment}}/{{run}}/{{dataset}}.tsv",
    priority: 1000  # soon after its training, so that what fails is seen early
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
        gpu=GPU,
    params:
        code=code_hash("dfp.stages.evaluate"),
    shell:
        "{JOB} --usage {log.usage} evaluate --checkpoint {input.checkpoint} --data {input.data} --out {output}"
        " --device {SETTINGS.device} --wandb {SETTINGS.wandb} > {log.text} 2>&1"


# once for all networks of a setting
rule tune:
    input:
        f"{RESULTS}/{{experiment}}/data/{{dataset}}.npz",
    output:
        f"{RESULTS}/{{experiment}}/peers/{{dataset}}/settings.json",
    log:
        text=f"{RESULTS}/logs/tune/{{experiment}}/{{dataset}}.log",
        usage=f"{RESULTS}/benchmarks/tune/{{experiment}}/{{dataset}}.tsv",
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
        gpu=0,
    params:
        code=code_hash("dfp.stages.peers"),
        spec=lambda w: EXPERIMENTS[w.experiment].peers,
    shell:
        "{JOB} --usage {log.usage} tune --experiment {CONFIGS}/{wildcards.experiment}/config.yaml {COMMON}"
        " --data {input} --out {output} > {log.text} 2>&1"


rule peers:
    input:
        data=f"{RESULTS}/{{experiment}}/data/{{dataset}}.npz",
        settings=peer_settings,
    output:
        f"{RESULTS}/{{experiment}}/peers/{{dataset}}/metrics.csv",
    log:
        text=f"{RESULTS}/logs/peers/{{experiment}}/{{dataset}}.log",
        usage=f"{RESULTS}/benchmarks/peers/{{experiment}}/{{dataset}}.tsv",
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
        gpu=0,
    params:
        code=code_hash("dfp.stages.peers"),
        spec=lambda w: EXPERIMENTS[w.experiment].peers_on(w.dataset),
        settings=lambda w, input: f"--settings {input.settings}" if input.settings else "",
    shell:
        "{JOB} --usage {log.usage} peers --experiment {CONFIGS}/{wildcards.experiment}/config.yaml {COMMON}"
        " --dataset {wildcards.dataset} --data {input.data} {params.settings} --out {output} > {log.text} 2>&1"


rule study:
    output:
        f"{RESULTS}/{{experiment}}/table.csv",
    log:
        text=f"{RESULTS}/logs/study/{{experiment}}.log",
        usage=f"{RESULTS}/benchmarks/study/{{experiment}}.tsv",
    wildcard_constraints:
        experiment=pattern(studies(alone=False)),
    priority: lambda w: 60 * EXPERIMENTS[w.experiment].minutes  # one long job
    threads: 1
    resources:
        mem_mb=4000,
        runtime=240,
        gpu=GPU,
    params:
        code=lambda w: code_hash("dfp.stages.study", *parts(w.experiment, "study.py")),
        spec=lambda w: EXPERIMENTS[w.experiment].study_fingerprint(),
        files=recorded_files,
    shell:
        "{JOB} --usage {log.usage} study --experiment {CONFIGS}/{wildcards.experiment}/config.yaml {COMMON}"
        " --out {output} --device {SETTINGS.device} > {log.text} 2>&1"


# a study that is measured against the clock: it takes every core that there is, is no fork of another process even
# where that is one core, and waits for the end, when it holds nobody up
rule measure_alone:
    output:
        f"{RESULTS}/{{experiment}}/table.csv",
    log:
        text=f"{RESULTS}/logs/study/{{experiment}}.log",
        usage=f"{RESULTS}/benchmarks/study/{{experiment}}.tsv",
    wildcard_constraints:
        experiment=pattern(studies(alone=True)),
    priority: 0
    threads: lambda w: workflow.cores or 1
    resources:
        mem_mb=4000,
        runtime=240,
        gpu=GPU,
        # on Slurm: a node that nobody else uses; in place of the `slurm_extra` of a profile
        slurm_extra="'--exclusive'",
    params:
        code=lambda w: code_hash("dfp.stages.study", *parts(w.experiment, "study.py")),
        spec=lambda w: EXPERIMENTS[w.experiment].study_fingerprint(),
    shell:
        "DFP_WARM= {JOB} --usage {log.usage} study --experiment {CONFIGS}/{wildcards.experiment}/config.yaml {COMMON}"
        " --out {output} --device {SETTINGS.device} > {log.text} 2>&1"
