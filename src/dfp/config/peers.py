"""The typed configuration of other people's methods."""

from __future__ import annotations

from dataclasses import dataclass, field

from dfp.core.errors import UserError, suggest
from dfp.data.told import Told, read_told

PEERS = ("oasis", "glm_true_spikes", "oasis_glm", "oasis_correlation", "gibbs_em", "gibbs_posterior")


@dataclass(frozen=True)
class PeersSpec:
    """Other people's methods on the same data sets.

    Attributes:
        methods: by name; see ``dfp.stages.peers``.
        tuning_seed: seed of the network that the peers choose their settings on; no run is trained and
            nothing is scored on it.
        sweeps, burn_in: of the Gibbs methods, burn-in included.
        prior_sd: of every weight under ``gibbs_posterior``, logits.
        particles: of the Gibbs methods' paths; 0 takes exact blocks where the calcium response is cut short
            enough for them (17 bins), else 32 particles.
        told: name → calcium constants told wrong, as in a model's ``told``: every method that takes traces
            is also run told so, as ``<method>_<name>`` with the label ``told``. Its settings are still those
            chosen with the right constants.
        only: method → the data sets that it is scored on, by name or setting; all of them where it is not
            named.
    """

    methods: list[str]
    tuning_seed: int | None = None
    sweeps: int = 60
    burn_in: int = 30
    prior_sd: float = 0.6
    particles: int = 0
    told: dict[str, dict[str, float | Told]] = field(default_factory=dict)
    only: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.only:
            if name not in self.methods:
                raise UserError(
                    f"only: found {name!r}{suggest(name, self.methods)}, expected one of the methods "
                    f"{', '.join(self.methods)}"
                )
        for name in self.methods:
            if name not in PEERS:
                raise UserError(
                    f"methods: unknown peer {name!r}{suggest(name, PEERS)}; known: {', '.join(PEERS)}"
                )
        if not (0 <= self.burn_in < self.sweeps and self.prior_sd > 0):
            raise UserError(
                f"sweeps, burn_in, prior_sd: found {self.sweeps}, {self.burn_in}, {self.prior_sd:g}; "
                "expected 0 ≤ burn_in < sweeps and a prior_sd above 0"
            )
        for name, told in self.told.items():
            read_told(told, f"told.{name}")
        if self.particles < 0 or self.particles == 1:
            raise UserError(f"particles: found {self.particles}, expected 0 or at least 2")
