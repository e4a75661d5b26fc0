"""What every study is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar

import torch


class Study(ABC):
    """A measurement that trains nothing on a data set of its own: its settings, and how to make its table.

    Subclasses are dataclasses of their settings, with a ``name``; ``__post_init__`` raises ``UserError`` for
    values without meaning. The ``study`` key of an experiment's configuration names one by its ``kind``.
    """

    name: ClassVar[str]

    @abstractmethod
    def rows(self, device: torch.device) -> Iterator[dict[str, Any]]:
        """The rows of the tidy table, as they are done.

        Keys: ``run``, ``dataset``, ``seed``, ``metric`` and ``value``, and ``posterior``, ``objective`` and
        ``sampler`` where they mean something; any other key is a label.
        """
