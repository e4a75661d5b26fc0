"""From the metrics of the runs to tables, figures and claims."""


rule aggregate:
    input:
        metrics,
    output:
        f"{RESULTS}/{{experiment}}/table.csv",
    log:
        text=f"{RESULTS}/logs/aggregate/{{experiment}}.log",
        usage=f"{RESULTS}/benchmarks/aggregate/{{experiment}}.tsv",
    wildcard_constraints:
        experiment=pattern(of_kind("simulated", "recordings")),
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
        gpu=0,
    params:
        code=code_hash("dfp.stages.aggregate"),
    shell:
        "{JOB} --usage {log.usage} aggregate --inputs {input} --out {output} > {log.text} 2>&1"


# of kind tables: a table made of those of other experiments
rule collect:
    input:
        lambda w: [table(name) for name in EXPERIMENTS[w.experiment].sources],
    output:
        f"{RESULTS}/{{experiment}}/table.csv",
    log:
        text=f"{RESULTS}/logs/collect/{{experiment}}.log",
        usage=f"{RESULTS}/benchmarks/collect/{{experiment}}.tsv",
    wildcard_constraints:
        experiment=pattern(of_kind("tables")),
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
        gpu=0,
    params:
        code=code_hash("dfp.stages.collect"),
        spec=lambda w: EXPERIMENTS[w.experiment].tables_fingerprint(),
    shell:
        "{JOB} --usage {log.usage} collect --experiment {CONFIGS}/{wildcards.experiment}/config.yaml {COMMON}"
        " --inputs {input} --out {output} > {log.text} 2>&1"


# a rule for each experiment, since the names of its figures come from its configuration
for experiment_name in PRESENT:

    rule:
        name:
            f"plot_{experiment_name}"
        input:
            table(experiment_name),
        output:
            report(
                figures(experiment_name, ["png"]),
                category="Figures",
                subcategory=experiment_name,
                caption="../captions/figure.rst",
            ),
            figures(experiment_name, ["pdf"]),
        log:
            text=f"{RESULTS}/logs/plot/{experiment_name}.log",
            usage=f"{RESULTS}/benchmarks/plot/{experiment_name}.tsv",
        threads: 1
        resources:
            mem_mb=1000,
            runtime=10,
            gpu=0,
        params:
            experiment=experiment_name,
            question=EXPERIMENTS[experiment_name].document.question,
            names=EXPERIMENTS[experiment_name].figures,
            code=code_hash("dfp.stages.plot", *parts(experiment_name, "plot.py")),
        shell:
            "{JOB} --usage {log.usage} plot --experiment {CONFIGS}/{params.experiment}/config.yaml"
            " --results {RESULTS}/{params.experiment} --out {FIGURES}/{params.experiment}"
            " --figures {params.names} --wandb {SETTINGS.wandb} > {log.text} 2>&1"


rule claims:
    input:
        [table(name) for name in IN_ALL],
    output:
        report(
            f"{RESULTS}/claims.csv",
            category="Claims",
            labels={"what": "the same as a table (CSV)"},
            caption="../captions/claims.rst",
        ),
        f"{RESULTS}/claims.md",
    log:
        text=f"{RESULTS}/logs/claims.log",
        usage=f"{RESULTS}/benchmarks/claims.tsv",
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
        gpu=0,
    params:
        # how a claim is judged is said by a docstring, which the stage prints
        code=code_hash(
            "dfp.stages.claims",
            *[path for name in EXPERIMENTS for path in parts(name, "claims.py")],
            docstrings=True,
        ),
        catalogue=hashlib.sha256(CATALOGUE.read_bytes()).hexdigest()[:16] if CATALOGUE.exists() else "",
        others=other_tables(),
    shell:
        "{JOB} --usage {log.usage} claims --results {RESULTS} --experiments {CONFIGS} --out {output[0]} > {log.text} 2>&1"


# the claims to read, for the report
rule page:
    input:
        table=f"{RESULTS}/claims.csv",
        rules=f"{RESULTS}/claims.md",
    output:
        report(
            f"{RESULTS}/claims.html",
            category="Claims",
            labels={"what": "a page: verdicts, the figures behind them, how they are judged"},
            caption="../captions/claims.rst",
        ),
    log:
        text=f"{RESULTS}/logs/page.log",
        usage=f"{RESULTS}/benchmarks/page.tsv",
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
        gpu=0,
    params:
        code=code_hash("dfp.stages.claims_page"),
    shell:
        "{JOB} --usage {log.usage} page --claims {input.table} --out {output} > {log.text} 2>&1"
