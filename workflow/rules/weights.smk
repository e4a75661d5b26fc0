"""The weights of the amortised posterior: from simulated cells, and with recordings where there are some."""


def pretrained(name):
    return f"{RESULTS}/weights/{name}.npz"


# no part of `all`: the package ships what this made
rule weights:
    input:
        [pretrained(name) for name in ("simulations", "cells") if name == "simulations" or RECORDED],


# a training that was cut off resumes from NAME.progress.pt beside the weights, which is no output and so survives
rule pretrain:
    output:
        weights=f"{RESULTS}/weights/{{weights}}.npz",
        provenance=f"{RESULTS}/weights/{{weights}}.json",
    log:
        text=f"{RESULTS}/logs/pretrain/{{weights}}.log",
        usage=f"{RESULTS}/benchmarks/pretrain/{{weights}}.tsv",
    wildcard_constraints:
        weights="simulations|cells",
    threads: 1
    resources:
        mem_mb=4000,
        runtime=120,
        gpu=0,
    params:
        code=code_hash("dfp.stages.pretrain"),
        spec=read_yaml(PACKAGE / "config" / "pretrain.yaml"),
        files=lambda w: recording_files() if w.weights == "cells" else [],
        more=lambda w: f"--recordings {shlex.quote(SETTINGS.recordings)}" if w.weights == "cells" else "",
    shell:
        "{JOB} --usage {log.usage} pretrain --out {output.weights} --scale {SETTINGS.scale} {params.more}"
        " --threads {threads} > {log.text} 2>&1"
