"""The arguments of the command line, and what ``--help`` says of them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from dfp import __version__

SCALES = ("smoke", "default", "paper")
Commands = Any  # argparse names the type of add_subparsers in private only


def make_parser() -> argparse.ArgumentParser:
    """The parser of ``dfp``; the command is ``options.command``."""
    parser = argparse.ArgumentParser(
        prog="dfp",
        description="Discrete flow posteriors. On recordings of your own: fit, infer, pretrain. Whole "
        "experiments: run, check. The rest are the stages that Snakemake calls, one by one.",
    )
    parser.add_argument("--version", action="version", version=f"dfp {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_own(commands)
    _add_whole(commands)
    _add_stages(commands)
    _add_tables(commands)
    return parser


def _command(
    commands: Commands, name: str, text: str, more: str = "", *, experiment: bool = False
) -> argparse.ArgumentParser:
    made: argparse.ArgumentParser = commands.add_parser(
        name, help=text, description=f"{text[0].upper()}{text[1:]}. {more}"
    )
    if experiment:
        _path(made, "--experiment", "the experiment's config.yaml")
        _scale(made)
    return made


def _path(made: argparse.ArgumentParser, flag: str, text: str, required: bool = True) -> None:
    made.add_argument(flag, type=Path, required=required, metavar="PATH", help=text)


def _dataset(made: argparse.ArgumentParser) -> None:
    made.add_argument("--dataset", required=True, metavar="NAME", help="a data set of the experiment")


def _device(made: argparse.ArgumentParser) -> None:
    made.add_argument("--device", default="auto", help="auto (CUDA where there is one), cpu or cuda")


def _wandb(made: argparse.ArgumentParser, default: str = "offline") -> None:
    text = f"mirror of the curves in Weights & Biases; {default} unless said otherwise"
    made.add_argument("--wandb", default=default, choices=("offline", "online", "disabled"), help=text)


def _traces(made: argparse.ArgumentParser, positional: bool = False) -> None:
    # as the readers say it (a test compares); asking them would load NumPy for every command
    text = "fluorescence, frames × cells: .csv, .h5, .hdf, .hdf5, .mat, .nc, .npy, .npz, .nwb, .tsv, .txt, "
    text += ".zarr or a folder of suite2p"
    if positional:
        made.add_argument("traces", type=Path, metavar="FILE", help=text)
    else:
        _path(made, "--traces", text)
    made.add_argument("--frame-rate", type=float, metavar="HZ", help="needed unless the file tells it")
    made.add_argument(
        "--orientation",
        choices=("time_first", "cells_first"),
        help="whether the rows of the array are frames or cells; frames, and refused where that looks wrong",
    )
    made.add_argument("--key", help="name of the array, where the file holds several")
    text = "names of the cells to take, as `dfp look` tells them; all unless said otherwise"
    made.add_argument("--cells", metavar="NAME[,NAME]", help=text)
    made.add_argument("--allow-nan", action="store_true", help="treat NaN frames as not observed")
    text = "doubts that are no faults here (unit, steps, …): the run goes on, and the cells stay in"
    made.add_argument("--confirm", metavar="NAME[,NAME]", help=text)
    text = "frames at which trials begin, from 0, or 'found': each trial gets a baseline of its own"
    made.add_argument("--trials", "--epochs", dest="trials", metavar="FRAME[,FRAME]", help=text)
    text = "frames to take as missing: outliers (light that nothing decays from), frozen (one value for long)"
    made.add_argument("--blank", metavar="KIND[,KIND]", help=text)


def _add_own(commands: Commands) -> None:
    made = _command(
        commands, "look", "say what was understood of a recording, and what is doubtful of it",
        "Nothing is trained, or written but a picture with --picture. `dfp fit` and `dfp infer` look in the "
        "same way before they start, stop where numbers would be wrong, and leave doubtful cells out.",
    )  # fmt: skip
    _traces(made, positional=True)
    made.add_argument("--indicator", help="GCaMP6f, GCaMP6s, …: how fast light may fall")
    text = "peak of the response to one spike, in the traces' unit: it is held against the traces"
    made.add_argument("--amplitude", type=float, metavar="FLUORESCENCE", help=text)
    made.add_argument("--decay", type=float, metavar="SECONDS", help="in place of the indicator's")
    made.add_argument("--json", action="store_true", help="one JSON object, with every doubt")
    _path(made, "--picture", "a picture of the traces to write (.png, .pdf, .svg)", required=False)

    made = _command(
        commands, "fit", "train on a recording of your own, and say where its spikes are",
        "Writes checkpoint.pt, spikes.csv, cells.csv and, with --connections, connections.csv into the "
        "folder --out (docs/recordings.md says what is in them). The same command again resumes.",
    )  # fmt: skip
    _traces(made)
    _path(made, "--out", "the folder to write into")
    made.add_argument("--indicator", help="GCaMP6f, GCaMP6s, …: rise and decay of a spike's response")
    made.add_argument("--rise", type=float, metavar="SECONDS", help="in place of the indicator's")
    made.add_argument("--decay", type=float, metavar="SECONDS", help="in place of the indicator's")
    text = "peak of the response to one spike, in the traces' unit, where it is known; else it is learned"
    made.add_argument("--amplitude", type=float, metavar="FLUORESCENCE", help=text)
    made.add_argument(
        "--connections",
        action="store_true",
        help="learn the weights between the cells too, all cells at once",
    )
    _path(made, "--settings", "YAML laid over the package's config/fit.yaml", required=False)
    _device(made)
    _wandb(made, "disabled")

    made = _command(
        commands, "infer", "spikes in traces of any cells, by a posterior that ships with dfp",
        "Nothing has to be trained. Writes arrays of frames × cells into the folder --out (spikes.npz, or as "
        "--format says): probability (of at least one spike in the frame), expected_count (of spikes in the "
        "frame), expected_count_1s, low_1s and high_1s (mean and central 90% interval of the spikes in the "
        "second around the frame); and cells.csv, a row a cell. With --checkpoint it asks a posterior that "
        "was trained on the same cells, and writes a CSV file with the same columns. The same command again "
        "resumes.",
    )  # fmt: skip
    _traces(made)
    _path(made, "--out", "folder to write into, or a file: .npz, .csv, .h5, .nwb (with --checkpoint .csv)")
    made.add_argument("--indicator", help="GCaMP6f, GCaMP6s, …, where it is known")
    text = "peak of the response to one spike, in the traces' unit, where it is known; else it is inferred"
    made.add_argument("--amplitude", type=float, metavar="FLUORESCENCE", help=text)
    made.add_argument("--rise", type=float, metavar="SECONDS", help="where it is known; else it is inferred")
    made.add_argument("--decay", type=float, metavar="SECONDS", help="where it is known; else it is inferred")
    text = "cells (learned from recordings with true spikes, the default), simulations (from those) or a file"
    made.add_argument("--weights", metavar="NAME", help=text)
    made.add_argument("--samples", type=int, metavar="S", help="joint samples of a cell's spikes; 100")
    made.add_argument("--seed", type=int, metavar="N", help="of their noise; 0")
    made.add_argument("--format", metavar="NAME", help="npz (the default), csv, csv-wide, hdf5 or nwb")
    text = "write the samples too, as a list of their spikes (posterior_samples.npz)"
    made.add_argument("--keep-samples", action="store_true", default=None, help=text)
    text = "processes, the same result for any number; the cores of the machine, at most 4"
    made.add_argument("--jobs", type=int, metavar="N", help=text)
    _path(
        made, "--checkpoint", "checkpoint.pt of `dfp fit` or `dfp train`, of the same cells", required=False
    )
    _device(made)

    made = _command(
        commands, "pretrain", "learn the posterior that serves all cells",
        "Writes weights (.npz) and, beside them, what they are made of (.json): data sets, citations, "
        "settings, commit, time. From simulated cells alone, or with recordings of your own whose spikes are "
        "known (docs/recordings.md). The same command again resumes what was cut off.",
    )  # fmt: skip
    _path(made, "--out", "the weights to write (.npz)")
    _path(
        made, "--recordings", "folder of recordings with true spikes; else simulations alone", required=False
    )
    text = "data sets (DS09), cells (DS09_c00) or indicators (GCaMP6f) among them that are not learned from"
    made.add_argument("--leave-out", nargs="+", default=[], metavar="NAME", help=text)
    text = "weights to go on from: cells, simulations, or a file"
    made.add_argument("--start", metavar="WEIGHTS", help=text)
    _path(made, "--settings", "YAML laid over the package's config/pretrain.yaml", required=False)
    made.add_argument("--seed", type=int, metavar="N", help="in place of the settings' own")
    made.add_argument(
        "--threads", type=int, default=1, metavar="N", help="of the CPU; 1 unless said otherwise"
    )
    text = "smoke takes a few steps of a tiny network; paper is default"
    made.add_argument("--scale", default="default", choices=SCALES, help=text)


def _add_whole(commands: Commands) -> None:
    made = _command(commands, "run", "run experiments from data to figures without Snakemake")
    _scale(made)
    made.add_argument("--only", nargs="+", metavar="NAME", help="names of experiments; else all of `all`")
    made.add_argument("--no-figures", action="store_true", help="tables and claims only")
    _device(made)
    _wandb(made)

    made = _command(commands, "check", "read configurations and say what is wrong with them")
    made.add_argument("experiments", type=Path, nargs="+", metavar="PATH", help="config.yaml of experiments")
    _scale(made)


def _add_stages(commands: Commands) -> None:
    made = _command(commands, "simulate", "make a data set", experiment=True)
    _dataset(made)
    _path(made, "--out", "the data set to write (.npz)")

    text = "train one posterior on one data set; resumes when it was cut off"
    made = _command(commands, "train", text, experiment=True)
    made.add_argument("--run", required=True, metavar="NAME", help="a run of the experiment")
    _dataset(made)
    _path(made, "--data", "the data set's file, of `dfp simulate`")
    _path(made, "--out", "the checkpoint to write (.pt); history and summary go beside it")
    _path(made, "--warm-start", "checkpoint to start from, where the run says so", required=False)
    _device(made)
    _wandb(made)

    text = "measure a checkpoint on held-out trials, from hard samples"
    made = _command(commands, "evaluate", text)
    _path(made, "--checkpoint", "of `dfp train`")
    _path(made, "--data", "the data set's file")
    _path(made, "--out", "the metrics to write (.csv)")
    _device(made)
    _wandb(made, "disabled")

    made = _command(commands, "peers", "score other people's methods on a data set", experiment=True)
    _dataset(made)
    _path(made, "--data", "the data set's file")
    _path(made, "--out", "the metrics to write (.csv)")
    _path(made, "--settings", "what `dfp tune` chose on another network", required=False)

    text = "choose the settings of other people's methods on a network of its own"
    made = _command(commands, "tune", text, experiment=True)
    _path(made, "--data", "the data set's file")
    _path(made, "--out", "the settings to write (.json)")


def _add_tables(commands: Commands) -> None:
    made = _command(commands, "aggregate", "stack the metrics of runs into one table")
    made.add_argument("--inputs", type=Path, nargs="+", required=True, metavar="PATH", help="metrics of runs")
    _path(made, "--out", "the table to write (.csv)")

    text = "make the table of a study: exact references, estimators, calibration, time"
    made = _command(commands, "study", text, experiment=True)
    _path(made, "--out", "the table to write (.csv)")
    _device(made)

    made = _command(commands, "collect", "put the tables of other experiments together", experiment=True)
    made.add_argument("--inputs", type=Path, nargs="+", required=True, metavar="PATH", help="their tables")
    _path(made, "--out", "the table to write (.csv)")

    made = _command(commands, "plot", "draw an experiment's figures from its tables")
    _path(made, "--experiment", "the experiment's config.yaml")
    _path(made, "--results", "folder of its table.csv")
    _path(made, "--out", "folder of the figures")
    made.add_argument("--figures", nargs="+", required=True, metavar="NAME", help="the figures expected")
    _wandb(made, "disabled")

    made = _command(commands, "claims", "hold the registered claims against the tables")
    _path(made, "--results", "folder of the experiments' tables")
    _path(made, "--out", "the verdicts to write (.csv; the page .md goes beside it)")
    text = "folder of the experiments, which say what is claimed and how it is judged"
    made.add_argument("--experiments", type=Path, default=Path("experiments"), metavar="PATH", help=text)

    made = _command(commands, "page", "make the claims a page to read, in HTML, self-contained")
    _path(made, "--claims", "claims.csv of `dfp claims`; claims.md beside it says how they are judged")
    _path(made, "--out", "the page to write (.html)")

    made = _command(commands, "reference", "keep a scale's tables and figures as the reference")
    _path(made, "--results", "results/<scale>")
    _path(made, "--figures", "figures/<scale>")


def _scale(made: argparse.ArgumentParser) -> None:
    text = "size of everything: smoke (seconds, numbers mean nothing), default or paper (one GPU)"
    made.add_argument("--scale", default="default", choices=SCALES, help=text)
    text = "YAML laid over the configurations; its top-level keys are experiments"
    _path(made, "--overrides", text, required=False)
