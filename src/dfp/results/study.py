"""What every study is: an experiment whose table is made in one process, by code in its own folder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING

from dfp.results.tables import Row

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from dfp.config.experiment import Experiment


class Study(ABC):
    """A measurement that makes a whole table: its settings, and how its rows come about.

    The folder of an experiment of kind ``study`` holds a ``study.py`` with one subclass, a dataclass of the
    settings under the configuration's key ``study``; ``__post_init__`` raises ``UserError`` for values
    without meaning. Parts of it lie beside it, and are imported relatively.
    """

    @abstractmethod
    def rows(self, device: torch.device) -> Iterator[Row]:
        """The rows of the tidy table, as they are done.

        Keys: ``run``, ``dataset``, ``seed``, ``metric`` and ``value``, and ``posterior``, ``objective`` and
        ``sampler`` where they mean something; any other key is a label.
        """


class RunStudy(Study):
    """A study of an experiment's own runs and data sets, which are configured as for a training."""

    @abstractmethod
    def check(self, exp: Experiment) -> None:
        """Raise ``UserError`` for settings that name a run or a data set that the experiment lacks."""

    @abstractmethod
    def measure(self, exp: Experiment, device: torch.device, folder: Path) -> Iterator[Row]:
        """The rows, as ``rows`` of a study without runs; tables of other shapes are written to ``folder``."""

    def rows(self, device: torch.device) -> Iterator[Row]:
        """Refused: such a study needs its experiment."""
        raise TypeError(f"{type(self).__name__} measures an experiment's runs: call measure")
