"""Every table, figure and claim, from nothing: `snakemake -j4 all`.

One rule a stage of `dfp`, the same for all experiments; what there is to do is read from experiments/*/config.yaml.
Configuration (--config key=value): scale, wandb, device, recordings, overrides. See the README.
Two things decide what is made again, besides missing and newer files: the source that a stage really uses (`code`) and
the part of the configuration that it depends on (`spec`).
"""


include: "workflow/rules/common.smk"


report: "workflow/captions/report.rst"


onstart:
    print(estimate(workflow.dag.needrun_jobs()), file=sys.stderr)
    warm_up(list(workflow.dag.needrun_jobs()))


wildcard_constraints:
    experiment=pattern(EXPERIMENTS),
    run="[^/]+",
    dataset="[^/]+",


localrules:
    all,
    ablations,
    exact,
    weights,


rule all:
    default_target: True
    input:
        f"{RESULTS}/claims.csv",
        f"{RESULTS}/claims.html",
        [table(name) for name in IN_ALL],
        [figures(name) for name in IN_ALL],


rule ablations:
    input:
        [[table(name), *figures(name)] for name in ABLATIONS],


# what holds posteriors against exact ones: every path visited, or forward-backward
rule exact:
    input:
        [
            [table(name), *figures(name)]
            for name in ("uncertainty", "instances", "coupled_instances", "ledger", "estimators")
        ],


include: "workflow/rules/targets.smk"
include: "workflow/rules/runs.smk"
include: "workflow/rules/tables.smk"
include: "workflow/rules/weights.smk"


if workflow.is_main_process:
    named = {one.name for one in workflow.rules}
    for word in sys.argv[1:]:  # Snakemake itself says only that there is no such rule
        if word not in named and "/" not in word and suggest(word, EXPERIMENTS):
            print(f"no target '{word}'{suggest(word, EXPERIMENTS)}", file=sys.stderr)
