"""The command line: one command a stage, each a plain function from paths to paths."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from dfp import __version__
from dfp.core.errors import NumericalError, UserError
from dfp.core.memory import keep_freed_memory

SCALES = ("smoke", "default", "paper")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return 0, 2 for a user's mistake, 3 for a
    numerical failure, each told in one sentence.
    """
    options = _parser().parse_args(arguments)
    try:
        _run(options)
    except UserError as error:
        print(f"dfp {options.command}: {error}", file=sys.stderr)
        return 2
    except NumericalError as error:
        print(f"dfp {options.command}: {error}", file=sys.stderr)
        return 3
    except OSError as error:  # a full disk, a folder that may not be written to
        print(
            f"dfp {options.command}: {error.filename or 'file'}: {error.strerror or error}", file=sys.stderr
        )
        return 2
    except KeyboardInterrupt:
        print(f"dfp {options.command}: interrupted; run the same command again to resume", file=sys.stderr)
        return 130
    return 0


def _run(options: argparse.Namespace) -> None:
    if options.command in ("train", "evaluate", "timing", "study", "infer", "run"):
        keep_freed_memory()
    # stages are imported when they are needed: figures and claims do not wait for torch
    match options.command:
        case "simulate":
            from dfp.stages.simulate import simulate

            simulate(options.experiment, options.scale, options.dataset, options.out, options.overrides)
        case "train":
            from dfp.stages.train import train

            train(
                options.experiment, options.scale, options.run, options.dataset, options.data, options.out,
                options.warm_start, options.device, options.wandb, options.overrides,
            )  # fmt: skip
        case "evaluate":
            from dfp.stages.evaluate import evaluate

            evaluate(options.checkpoint, options.data, options.out, options.device)
        case "peers":
            from dfp.stages.peers import peers

            peers(
                options.experiment,
                options.scale,
                options.dataset,
                options.data,
                options.out,
                options.settings,
                options.overrides,
            )
        case "tune":
            from dfp.stages.peers import tune_peers

            tune_peers(options.experiment, options.scale, options.data, options.out, options.overrides)
        case "aggregate":
            from dfp.stages.aggregate import aggregate

            aggregate(options.inputs, options.out)
        case "timing":
            from dfp.stages.timing import timing

            timing(options.experiment, options.scale, options.out, options.device, options.overrides)
        case "study":
            from dfp.stages.study import study

            study(options.experiment, options.scale, options.out, options.device, options.overrides)
        case "collect":
            from dfp.stages.collect import collect

            collect(options.experiment, options.scale, options.inputs, options.out, options.overrides)
        case "plot":
            from dfp.stages.aggregate import COLUMNS, means, read_table
            from dfp.stages.plot import plot
            from dfp.tracking.tracker import mirror_figures

            plot(options.experiment.parent, options.results, options.out, options.figures)
            if options.wandb != "disabled":
                final = means(read_table(options.results / "table.csv", COLUMNS))
                name = options.experiment.parent.name
                mirror_figures(name, options.out, options.figures, options.wandb, final)
        case "claims":
            from dfp.stages.claims import claims

            claims(options.results, options.out, options.out.with_suffix(".md"))
        case "reference":
            from dfp.stages.reference import reference

            reference(options.results, options.figures, Path.cwd())
        case "infer":
            from dfp.stages.infer import infer

            infer(
                options.checkpoint, options.traces, options.out, options.frame_rate, options.orientation,
                options.key, options.allow_nan, options.device,
            )  # fmt: skip
        case "run":
            from dfp.stages.run import run

            run(
                Path.cwd(), options.scale, options.only or (), options.device, options.wandb,
                options.overrides, not options.no_figures,
            )  # fmt: skip
        case "check":
            from dfp.config import load_experiment
            from dfp.stages.study import make_study

            for path in options.experiments:
                exp = load_experiment(path, options.scale, options.overrides)
                size = f"{len(exp.datasets)} data sets, {len(exp.jobs())} runs"
                if exp.sources:
                    size = f"the tables of {' and '.join(exp.sources)}"
                if exp.kind == "study":
                    size = f"the study {make_study(exp).name}"
                print(f"{path} ({options.scale}): {size}, about {exp.minutes:g} minutes")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dfp", description="Discrete flow posteriors: the stages of the experiments, one by one."
    )
    parser.add_argument("--version", action="version", version=f"dfp {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name: str, told: str, *, experiment: bool = True) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=told, description=told)
        if experiment:
            made.add_argument("--experiment", type=Path, required=True, help="the experiment's config.yaml")
            _scale(made)
        return made

    def path(made: argparse.ArgumentParser, *flags: str, required: bool = True) -> None:
        for flag in flags:
            made.add_argument(flag, type=Path, required=required)

    def device(made: argparse.ArgumentParser) -> None:
        made.add_argument("--device", default="auto", help="auto (CUDA where there is one), cpu or cuda")

    def wandb(made: argparse.ArgumentParser, default: str = "offline") -> None:
        made.add_argument("--wandb", default=default, choices=("offline", "online", "disabled"))

    made = command("simulate", "make a data set")
    made.add_argument("--dataset", required=True)
    path(made, "--out")

    made = command("train", "train one posterior on one data set; resumes when it was cut off")
    made.add_argument("--run", required=True)
    made.add_argument("--dataset", required=True)
    path(made, "--data", "--out")
    path(made, "--warm-start", required=False)
    device(made)
    wandb(made)

    made = command("evaluate", "measure a checkpoint on held-out trials, from hard samples", experiment=False)
    path(made, "--checkpoint", "--data", "--out")
    device(made)

    made = command("peers", "score other people's methods on a data set")
    made.add_argument("--dataset", required=True)
    path(made, "--data", "--out")
    made.add_argument("--settings", type=Path, help="what `dfp tune` chose on another network")

    made = command("tune", "choose the settings of other people's methods on a network of its own")
    path(made, "--data", "--out")

    made = command("aggregate", "stack the metrics of runs into one table", experiment=False)
    made.add_argument("--inputs", type=Path, nargs="+", required=True)
    path(made, "--out")

    made = command("timing", "time training steps; leave the machine alone meanwhile")
    path(made, "--out")
    device(made)

    made = command("study", "make the table of a study: exact references, estimators, calibration")
    path(made, "--out")
    device(made)

    made = command("collect", "put the tables of other experiments together")
    made.add_argument("--inputs", type=Path, nargs="+", required=True)
    path(made, "--out")

    made = command("plot", "draw an experiment's figures from its tables", experiment=False)
    made.add_argument("--experiment", type=Path, required=True, help="the experiment's config.yaml")
    path(made, "--results", "--out")
    made.add_argument("--figures", nargs="+", required=True, help="the names of the figures expected")
    wandb(made, "disabled")

    made = command("claims", "hold the registered claims against the tables", experiment=False)
    path(made, "--results", "--out")

    made = command("reference", "keep a scale's tables and figures as the reference", experiment=False)
    path(made, "--results", "--figures")

    made = command("infer", "spikes from traces of your own, by a trained posterior", experiment=False)
    path(made, "--checkpoint", "--traces", "--out")
    made.add_argument("--frame-rate", type=float, help="Hz; needed unless the file tells it")
    made.add_argument(
        "--orientation",
        choices=("time_first", "cells_first"),
        help="whether the rows of the array are frames or cells; frames, unless that looks wrong",
    )
    made.add_argument("--key", help="name of the array in .npz and .mat files")
    made.add_argument("--allow-nan", action="store_true", help="treat NaN frames as not observed")
    device(made)

    made = command("run", "run experiments from data to figures without Snakemake", experiment=False)
    _scale(made)
    made.add_argument("--only", nargs="+", help="names of experiments")
    made.add_argument("--no-figures", action="store_true")
    device(made)
    wandb(made)

    made = command("check", "read configurations and say what is wrong with them", experiment=False)
    made.add_argument("experiments", type=Path, nargs="+")
    _scale(made)
    return parser


def _scale(made: argparse.ArgumentParser) -> None:
    made.add_argument("--scale", default="default", choices=SCALES)
    made.add_argument(
        "--overrides", type=Path, help="YAML laid over the configurations; its top-level keys are experiments"
    )


if __name__ == "__main__":
    sys.exit(main())
