"""What W&B is shown of an evaluation: held-out metrics, in the run of the training that they are of."""

from __future__ import annotations

from pathlib import Path

from dfp.core.files import read_json
from dfp.results.tables import read_table
from dfp.stages.aggregate import means
from dfp.tracking.tracker import mirror_metrics


def mirror_evaluation(checkpoint: Path, metrics: Path, wandb: str) -> None:
    """Add the means of ``metrics`` (of ``evaluate``) to the W&B run of their training.

    The config.json beside the checkpoint names it; ``wandb`` is ``offline``, ``online`` or ``disabled``.
    """
    config = checkpoint.with_name("config.json")
    if wandb == "disabled" or not config.is_file():
        return
    run = read_json(config)
    found = {name.partition("/")[2]: value for name, value in means(read_table(metrics)).items()}
    mirror_metrics(run, found, wandb)
