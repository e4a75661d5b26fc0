"""dfp: discrete flow posteriors for variational inference in discrete dynamical systems.

``import dfp`` costs next to nothing: a name below is loaded when it is first asked for, and torch with it.
Examples in docstrings take ``import numpy as np``, ``import torch`` and ``import dfp`` for granted; shapes
are S samples, B trials, T bins, N cells.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

#: the door: every public name, and the module that it lives in
_HOMES = {
    "UserError": "dfp.core.errors",
    "generator": "dfp.core.noise",
    "from_edges": "dfp.data.networks",
    "sparse_random": "dfp.data.networks",
    "simulate": "dfp.data.simulate",
    "CausalBernoulli": "dfp.distributions.causal_bernoulli",
    "all_paths": "dfp.distributions.enumeration",
    "CausalTerm": "dfp.distributions.terms",
    "Coupling": "dfp.distributions.terms",
    "LowRankCoupling": "dfp.distributions.terms",
    "NonlinearHistory": "dfp.distributions.terms",
    "OwnHistory": "dfp.distributions.terms",
    "check_term": "dfp.distributions.terms",
    "fit": "dfp.fitting.fit",
    "Fitted": "dfp.fitting.fitted",
    "load": "dfp.fitting.fitted",
    "infer": "dfp.fitting.infer",
    "Inferred": "dfp.fitting.inferred",
    "Result": "dfp.fitting.result",
    "CalciumNetwork": "dfp.models.calcium",
    "CalciumParameters": "dfp.models.calcium",
    "Problem": "dfp.objectives.base",
    "DisArm": "dfp.objectives.disarm",
    "LogisticDensity": "dfp.objectives.logistic_density",
    "MultiSample": "dfp.objectives.multi_sample",
    "RelaxedPmf": "dfp.objectives.relaxed_pmf",
    "ScoreFunction": "dfp.objectives.score_function",
    "WakeSleep": "dfp.objectives.wake_sleep",
    "Autoregressive": "dfp.posteriors.autoregressive",
    "AutoregressiveConfig": "dfp.posteriors.autoregressive",
    "TraceSummary": "dfp.posteriors.base",
    "Factorised": "dfp.posteriors.factorised",
    "FactorisedConfig": "dfp.posteriors.factorised",
    "LatentFlow": "dfp.posteriors.latent_flow",
    "LatentFlowConfig": "dfp.posteriors.latent_flow",
    "LogisticFlow": "dfp.posteriors.logistic_flow",
    "RecognitionConfig": "dfp.posteriors.recognition",
    "Refined": "dfp.posteriors.refined",
    "RefinedConfig": "dfp.posteriors.refined",
    "Twisted": "dfp.posteriors.twisted",
    "TwistedConfig": "dfp.posteriors.twisted",
    "ExactNetworkPosterior": "dfp.references.exact.network",
    "ExactPosterior": "dfp.references.exact.one_cell",
    "gibbs_chain": "dfp.references.gibbs.particles",
    "Auto": "dfp.samplers.auto",
    "Chunked": "dfp.samplers.chunked",
    "Compiled": "dfp.samplers.compiled",
    "FixedPoint": "dfp.samplers.fixed_point",
    "Newton": "dfp.samplers.newton",
    "Concrete": "dfp.samplers.relaxations",
    "Hard": "dfp.samplers.relaxations",
    "MeanField": "dfp.samplers.relaxations",
    "StraightThrough": "dfp.samplers.relaxations",
    "Sequential": "dfp.samplers.sequential",
    "Trainer": "dfp.training.loop",
    "Phase": "dfp.training.phase",
}

__all__ = [*_HOMES]

if TYPE_CHECKING:  # the same for editors and type checkers, which do not run code
    from dfp.core.errors import UserError as UserError
    from dfp.core.noise import generator as generator
    from dfp.data.networks import from_edges as from_edges
    from dfp.data.networks import sparse_random as sparse_random
    from dfp.data.simulate import simulate as simulate
    from dfp.distributions.causal_bernoulli import CausalBernoulli as CausalBernoulli
    from dfp.distributions.enumeration import all_paths as all_paths
    from dfp.distributions.terms import CausalTerm as CausalTerm
    from dfp.distributions.terms import Coupling as Coupling
    from dfp.distributions.terms import LowRankCoupling as LowRankCoupling
    from dfp.distributions.terms import NonlinearHistory as NonlinearHistory
    from dfp.distributions.terms import OwnHistory as OwnHistory
    from dfp.distributions.terms import check_term as check_term
    from dfp.fitting.fit import fit as fit
    from dfp.fitting.fitted import Fitted as Fitted
    from dfp.fitting.fitted import load as load
    from dfp.fitting.infer import infer as infer
    from dfp.fitting.inferred import Inferred as Inferred
    from dfp.fitting.result import Result as Result
    from dfp.models.calcium import CalciumNetwork as CalciumNetwork
    from dfp.models.calcium import CalciumParameters as CalciumParameters
    from dfp.objectives.base import Problem as Problem
    from dfp.objectives.disarm import DisArm as DisArm
    from dfp.objectives.logistic_density import LogisticDensity as LogisticDensity
    from dfp.objectives.multi_sample import MultiSample as MultiSample
    from dfp.objectives.relaxed_pmf import RelaxedPmf as RelaxedPmf
    from dfp.objectives.score_function import ScoreFunction as ScoreFunction
    from dfp.objectives.wake_sleep import WakeSleep as WakeSleep
    from dfp.posteriors.autoregressive import Autoregressive as Autoregressive
    from dfp.posteriors.autoregressive import AutoregressiveConfig as AutoregressiveConfig
    from dfp.posteriors.base import TraceSummary as TraceSummary
    from dfp.posteriors.factorised import Factorised as Factorised
    from dfp.posteriors.factorised import FactorisedConfig as FactorisedConfig
    from dfp.posteriors.latent_flow import LatentFlow as LatentFlow
    from dfp.posteriors.latent_flow import LatentFlowConfig as LatentFlowConfig
    from dfp.posteriors.logistic_flow import LogisticFlow as LogisticFlow
    from dfp.posteriors.recognition import RecognitionConfig as RecognitionConfig
    from dfp.posteriors.refined import Refined as Refined
    from dfp.posteriors.refined import RefinedConfig as RefinedConfig
    from dfp.posteriors.twisted import Twisted as Twisted
    from dfp.posteriors.twisted import TwistedConfig as TwistedConfig
    from dfp.references.exact.network import ExactNetworkPosterior as ExactNetworkPosterior
    from dfp.references.exact.one_cell import ExactPosterior as ExactPosterior
    from dfp.references.gibbs.particles import gibbs_chain as gibbs_chain
    from dfp.samplers.auto import Auto as Auto
    from dfp.samplers.chunked import Chunked as Chunked
    from dfp.samplers.compiled import Compiled as Compiled
    from dfp.samplers.fixed_point import FixedPoint as FixedPoint
    from dfp.samplers.newton import Newton as Newton
    from dfp.samplers.relaxations import Concrete as Concrete
    from dfp.samplers.relaxations import Hard as Hard
    from dfp.samplers.relaxations import MeanField as MeanField
    from dfp.samplers.relaxations import StraightThrough as StraightThrough
    from dfp.samplers.sequential import Sequential as Sequential
    from dfp.training.loop import Trainer as Trainer
    from dfp.training.phase import Phase as Phase

else:

    def __getattr__(name: str) -> Any:
        """Load a public name from its home when it is first asked for (PEP 562)."""
        if name not in _HOMES:
            raise AttributeError(f"module 'dfp' has no attribute {name!r}")
        found = getattr(importlib.import_module(_HOMES[name]), name)
        globals()[name] = found  # asked for once
        return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
