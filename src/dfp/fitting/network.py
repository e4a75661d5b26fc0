"""What is measured of coupled cells: their weights, learned and regressed on posterior samples."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from dfp.data.dataset import Dataset
from dfp.fitting.fitted import Fitted
from dfp.metrics.connectivity import weight_metrics
from dfp.models.base import Parameters
from dfp.references.regression import regress
from dfp.results.tables import Measured


def weight_rows(fitted: Fitted, data: Dataset) -> list[Measured]:
    """The learned weights against the true ones; nothing where the weights were not learned."""
    if "coupling" not in fitted.model.learned:
        return []
    found = weight_metrics(fitted.model.parameters_now().coupling, data.start.coupling)
    return [(0, name, value) for name, value in found.items()]


def m_step_rows(z: Tensor, data: Dataset, name: str = "m_step") -> list[Measured]:
    """An M-step on posterior samples ``(S, B, T, N)``, scored against the truth.

    The model's spiking law is fitted to the samples by logistic regression.

    With q trained at the true parameters the exact posterior would give back the true weights (slope 1) but
    for sampling error: what is missing is what q lost.

    Args:
        name: what the metrics start with.
    """
    paths = z.flatten(0, 1).cpu().numpy()
    history = data.start.history.shape[1]
    found = regress(paths, data.start.basis, history)
    rows = [
        (0, metric.replace("weight", name, 1), value)
        for metric, value in weight_metrics(found.coupling, data.start.coupling).items()
    ]
    errors = (found.history - data.start.history).mean(0)
    rows += [(0, f"{name}_history_{lag + 1}", float(error)) for lag, error in enumerate(errors)]
    return [*rows, (0, f"{name}_rate", float((found.bias - data.start.bias).mean()))]


def gibbs_refined(z: Tensor, data: Dataset, parameters: Parameters, sweeps: int) -> Tensor:
    """Posterior samples ``(S, B, T, N)`` after ``sweeps`` sweeps of Gibbs sampling under ``parameters``.

    Every sample starts a chain of its own.
    """
    from dfp.references.gibbs.particles import gibbs_chain  # here, since few runs wait for numba

    refined = []
    for s, spikes in enumerate(z.cpu().numpy()):
        chain = gibbs_chain(
            parameters, data.bin_rate, data.kernel_bins, data.x, 30_000 + s, start=spikes.astype(np.int8)
        )
        for _ in range(sweeps):
            chain.sweep()
        refined.append(chain.z)
    return torch.as_tensor(np.stack(refined)).to(z)


def weights_table(learned: np.ndarray, truth: np.ndarray) -> pd.DataFrame:
    """Weights ``(R, N, N)`` side by side: columns ``function, to, from, true, learned``, no diagonal."""
    functions, to, sender = np.nonzero(np.broadcast_to(~np.eye(truth.shape[1], dtype=bool), truth.shape))
    columns = {"function": functions, "to": to, "from": sender}
    return pd.DataFrame(
        {**columns, "true": truth[functions, to, sender], "learned": learned[functions, to, sender]}
    )
