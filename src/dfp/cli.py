"""The command line: one command a stage, each a plain function from paths to paths."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dfp.arguments import make_parser
from dfp.core.errors import NumericalError, UserError
from dfp.core.extras import optional
from dfp.core.memory import keep_freed_memory

if TYPE_CHECKING:
    from dfp.stages.source import Source


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status.

    0 is success, 2 a user's mistake and 3 a numerical failure; each failure is said in one sentence.
    """
    options = make_parser().parse_args(arguments)
    try:
        with optional():  # a stage whose libraries are not all there
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
    if options.command in ("train", "evaluate", "study", "infer", "fit", "pretrain", "run"):
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
            from dfp.stages.mirror import mirror_evaluation

            evaluate(options.checkpoint, options.data, options.out, options.device)
            mirror_evaluation(options.checkpoint, options.out, options.wandb)
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
        case "study":
            from dfp.stages.study import study

            study(options.experiment, options.scale, options.out, options.device, options.overrides)
        case "collect":
            from dfp.stages.collect import collect

            collect(options.experiment, options.scale, options.inputs, options.out, options.overrides)
        case "plot":
            from dfp.results.tables import read_table
            from dfp.stages.aggregate import means
            from dfp.stages.plot import plot
            from dfp.tracking.tracker import mirror_figures

            plot(options.experiment.parent, options.results, options.out, options.figures)
            if options.wandb != "disabled":
                table = read_table(options.results / "table.csv")
                name = options.experiment.parent.name
                shown = table.astype(object).where(table.notna(), None)
                rows = [*shown.columns], shown.to_numpy().tolist()
                mirror_figures(name, options.out, options.figures, options.wandb, means(table), rows)
        case "claims":
            from dfp.stages.claims import claims

            claims(options.results, options.out, options.out.with_suffix(".md"), options.experiments)
        case "page":
            from dfp.stages.claims_page import page

            page(options.claims, options.out)
        case "reference":
            from dfp.stages.reference import reference

            reference(options.results, options.figures, Path.cwd())
        case "look":
            from dfp.stages.look import look

            source = _source(options, options.indicator, options.decay)
            print("\n".join(look(source, options.json, options.picture)))
        case "infer":
            _infer(options)
        case "fit":
            from dfp.config.fitting import load_fit
            from dfp.stages.fit import fit

            plan = load_fit("connections" if options.connections else "cells", options.settings)
            response = plan.response(options.indicator, options.rise, options.decay, options.amplitude)
            source = _source(options, decay=response.decay)
            fit(source, options.out, plan, response, options.device, options.wandb)
        case "pretrain":
            from dfp.stages.pretrain import pretrain

            pretrain(
                options.out, options.recordings, options.leave_out, options.start, options.settings,
                options.seed, options.scale, options.threads,
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
                    size = f"the study {type(make_study(exp)).__name__}"
                print(f"{path} ({options.scale}): {size}, about {exp.minutes:g} minutes")


def _source(options: argparse.Namespace, indicator: str | None = None, decay: float | None = None) -> Source:
    """The file that the options name, and what they say of it."""
    from dfp.data.doubts.admit import Care
    from dfp.data.doubts.base import Expected
    from dfp.stages.source import Source, named_frames, words

    care = Care(words(options.confirm), named_frames(options.trials), words(options.blank))
    return Source(
        options.traces, options.frame_rate, options.orientation, options.key, options.allow_nan,
        words(options.cells), care, Expected.of(indicator, options.amplitude, decay),
    )  # fmt: skip


def _infer(options: argparse.Namespace) -> None:
    """``dfp infer``, by a checkpoint or, without one, by the posterior of the package."""
    told = ("indicator", "amplitude", "rise", "decay", "weights", "samples", "seed")
    how = ("format", "keep_samples", "jobs")
    if options.checkpoint is not None:
        from dfp.stages.infer import infer

        for name in (*told, *how):
            if getattr(options, name) is not None:
                raise UserError(
                    f"--{name.replace('_', '-')}: found beside --checkpoint, expected one of the two (the "
                    "posterior of the package is asked where there is no --checkpoint)"
                )
        infer(options.checkpoint, _source(options), options.out, options.device)
        return
    from dfp.fitting.pretrained import ask
    from dfp.stages.infer_cells import Output, infer_cells

    if options.device not in ("auto", "cpu"):
        raise UserError(f"--device: found {options.device} without --checkpoint, expected auto or cpu")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", UserWarning)
        asked = ask(**{name: getattr(options, name) for name in told})
    for one in said:
        print(f"dfp infer: {one.message}", file=sys.stderr)
    source = _source(options, asked.told.indicator, options.decay)
    output = Output(options.out, options.format, bool(options.keep_samples), options.jobs)
    print("\n".join(infer_cells(source, asked, output)))


if __name__ == "__main__":
    sys.exit(main())
