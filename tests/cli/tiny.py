"""A tiny experiment in a folder of its own, and the commands on it."""

from __future__ import annotations

from pathlib import Path

from dfp.cli import main

CONFIG = """
question: Do the commands work?
datasets:
  one: &one
    {network: {kind: independent}, seeds: [0], bins: 50, trials: 6, test_trials: 2, kernel_bins: 6}
  two: {<<: *one, seeds: [0, 1]}
defaults:
  recognition: {window: 4, hidden: 4, per_cell: true}
  training: {steps: 2, batch: 4, temperature: {start: 0.5, end: 0.2, shape: linear}}
  evaluation: {samples: 8, iwae_samples: 4, two_sample: true, two_sample_samples: 4}
runs:
  factorised: {posterior: {kind: factorised}, labels: {family: factorised}}
  fixed_point: {posterior: {kind: autoregressive, history: 3}, labels: {family: fixed_point}, datasets: [one]}
  warm:
    posterior: {kind: autoregressive, history: 3}
    datasets: [one]
    warm_start: fixed_point
    model: {learn: [bias, noise], start: data}
    phases:
      - {steps: 6}
      - {steps: 6, objective: {kind: score_function, samples: 2}, relaxation: hard}
figures: [gap]
"""
PLOT = '''
"""One figure of one number a run."""
from matplotlib.figure import Figure

def figures(results):
    figure = Figure(figsize=(2, 2))
    table = results.table
    rows = table[table["metric"] == "gap_per_bin"]
    figure.subplots().bar(rows["run"], rows["value"])
    return {"gap": figure}
'''


class Place:
    """A folder with the experiment ``tiny``, and the paths of its results."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.config = root / "experiments" / "tiny" / "config.yaml"
        self.config.parent.mkdir(parents=True)
        self.config.write_text(CONFIG)
        (self.config.parent / "plot.py").write_text(PLOT)
        self.results = root / "results" / "default" / "tiny"

    def data(self, name: str = "one") -> Path:
        return self.results / "data" / f"{name}.npz"

    def run(self, name: str, data: str = "one") -> Path:
        return self.results / "runs" / name / data

    def checkpoint(self, name: str = "fixed_point", data: str = "one") -> Path:
        return self.run(name, data) / "checkpoint.pt"

    def train(self, name: str, data: str = "one", out: Path | None = None, *more: object) -> list[str]:
        """The arguments of ``dfp train``."""
        target = out or self.checkpoint(name, data)
        given = [
            "train",
            "--experiment",
            self.config,
            "--run",
            name,
            "--dataset",
            data,
            "--data",
            self.data(data),
        ]
        return [
            str(item) for item in (*given, "--out", target, "--wandb", "disabled", "--device", "cpu", *more)
        ]


def dfp(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])
