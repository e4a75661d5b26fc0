"""Where the parameters of a flow of latents come from, in whole blocks and in those cut short."""

from __future__ import annotations

import pytest
import torch
from cases import Family, traces

from dfp.posteriors.latent_flow import FlowedLatents, LatentFlow

BLOCK, BINS, CELLS = 4, 7, 2


@pytest.mark.parametrize(("flow", "vectors"), [("planar", 2), ("radial", 1)])
@pytest.mark.parametrize("k", [0, 1])
def test_numbers_are_of_the_mean_over_the_bins_that_there_are(flow: str, vectors: int, k: int) -> None:
    """Flow k, the second one with blocks shifted by two bins; a block cut to three has a mean of three."""
    settings = {"recognition": {"window": 2, "hidden": 4}, "flow": flow, "length": 2, "block": BLOCK}
    posterior = Family("latent_flow", settings).trained(CELLS)
    assert isinstance(posterior, LatentFlow)
    x = traces(3, bins=BINS, cells=CELLS)
    with torch.no_grad():
        q = posterior.condition(x).q
        assert isinstance(q, FlowedLatents)
        features = posterior.recognition(x)[1]
        heads = posterior.heads.expand(CELLS, -1, -1)
        outputs = torch.einsum("btnf,nfo->bnot", features, heads).unflatten(2, (2, 3))[:, :, k]
        bounds = [(0, 4), (4, 7)] if k == 0 else [(0, 2), (2, 6), (6, 7)]
        for block, (first, last) in enumerate(bounds):
            means = outputs[..., first:last].mean(-1)[..., vectors:]
            for number, found in enumerate(q.layers[k].numbers):
                expected = means[..., number] + posterior.numbers[:, k, number]
                assert torch.allclose(found[0, :, :, block], expected, atol=1e-12)
        assert q.layers[k].sizes.tolist() == [last - first for first, last in bounds]
