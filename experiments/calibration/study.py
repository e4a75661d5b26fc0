"""Calibration: what a posterior says of its own uncertainty, held against what happens."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from dfp.results.study import Study
from dfp.results.tables import Row

from .joint import JointTest, joint_rows
from .panel import Panel, panel_rows
from .weights import Weights, weight_rows


@dataclass(frozen=True)
class Calibration(Study):
    """Four questions, each with a control that has to come out right.

    * ``panel``: single cells, parameters known. Ranks of the true spike counts among posterior samples
      (simulation-based calibration, Talts et al. 2018, with randomised ranks), coverage of central
      intervals, reliability of P(spike). The exact posterior has to pass. The two-sample test, given exact
      samples twice, has to find nothing.
    * ``joint``: simulator against samplers of the posterior (Geweke 2004). Samplers with a filter one bin
      late have to be caught.
    * ``weights``: intervals of the weights of small networks, by Gibbs sampling of spikes and weights, by
      Laplace's approximation with and without the information that the unseen spikes take away (Louis 1982),
      and from a variational posterior.
    """

    panel: Panel
    joint: JointTest
    weights: Weights

    def rows(self, device: torch.device) -> Iterator[Row]:
        """Rows of the runs ``exact`` and the panel's own, of the joint test, and of the networks.

        The panel's have labels ``window``, ``at`` and ``group``, those of the joint test ``planted`` and
        ``function``.
        """
        yield from joint_rows(self.joint, device)
        yield from panel_rows(self.panel, device)
        yield from weight_rows(self.weights, device)
