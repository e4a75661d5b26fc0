"""One target an experiment, by its name: `snakemake -j4 uncertainty`."""

for experiment_name in PRESENT:

    rule:
        name:
            experiment_name
        input:
            table(experiment_name),
            figures(experiment_name),
        localrule: True
