"""Floor 6: typed configuration, and the only place that turns names into classes."""

from dfp.config.experiment import Experiment, load_experiment
from dfp.core.folders import list_experiments

__all__ = ["Experiment", "list_experiments", "load_experiment"]
