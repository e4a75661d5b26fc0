"""The weights of the amortised posterior: from simulated cells, and with recordings where there are some."""


def pretrained(name):
    return f"{RESULTS}/weights/{name}.npz"


# no part of `all`: the package ships what this made
rule weights:
    input:
        [pretrained(name) for name in ("simulations", "cells") if name == "simulations" or RECORDED],


# a training that was cut off resumes from NAME.progress.pt beside the weights, which is no output and so survives
rule pretrain:
    input:
        lambda w: pretrained("simulations") if w.weights == "cells" else [],
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
        more=lambda w, input: (
            f"--start {input} --recordings {shlex.quote(SETTINGS.recordings)}"
            if w.weights == "cells"
            else ""
        ),
    shell:
        "{JOB} --usage {log.usage} pretrain --out {output.weights} --scale {SETTINGS.scale} {params.more}"
        " --threads {threads} > {log.text} 2>&1"


def left_out(name):
    """What a fold leaves out: the cells of a third of all, or an indicator."""
    scheme, what = name.split("_", 1)
    if scheme == "indicator":
        return [what]
    cells = {one.cell for one in load_recordings(SETTINGS.recordings)}
    return sorted(cell for cell in cells if zlib.crc32(cell.encode()) % 3 == int(what))


FOLDS = [f"cell_{k}" for k in range(3)] + [
    f"indicator_{name}" for name in ("GCaMP6f", "GCaMP6s", "GCaMP7f", "GCaMP8f", "GCaMP8m", "GCaMP8s")
]


# what `real_cells` scores: weights that never saw a third of the cells, or an indicator
rule folds:
    input:
        [f"{RESULTS}/weights/folds/{name}.npz" for name in FOLDS] if RECORDED else [],


rule fold:
    input:
        pretrained("simulations"),
    output:
        weights=f"{RESULTS}/weights/folds/{{fold}}.npz",
        provenance=f"{RESULTS}/weights/folds/{{fold}}.json",
    log:
        text=f"{RESULTS}/logs/pretrain/{{fold}}.log",
        usage=f"{RESULTS}/benchmarks/pretrain/{{fold}}.tsv",
    wildcard_constraints:
        fold="|".join(FOLDS),
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
        gpu=0,
    params:
        code=code_hash("dfp.stages.pretrain"),
        spec=read_yaml(ROOT / "experiments" / "real_cells" / "folds.yaml"),
        files=lambda w: recording_files(),
        left_out=lambda w: " ".join(left_out(w.fold)),
    shell:
        "{JOB} --usage {log.usage} pretrain --out {output.weights} --scale {SETTINGS.scale} --start {input}"
        " --recordings {SETTINGS.recordings:q} --settings experiments/real_cells/folds.yaml"
        " --leave-out {params.left_out} > {log.text} 2>&1"
