"""Calibration: data in, per tensor statistics out, measured inside the running graph."""

from autocast_core.calibrate.batches import Batches, open_batches
from autocast_core.calibrate.inputs import InputSpec, input_specs
from autocast_core.calibrate.runner import calibrate
from autocast_core.calibrate.statistics import Statistics, TensorStats
from autocast_core.calibrate.tables import table_sizes
from autocast_core.calibrate.weights import scan_weights

__all__ = [
    "Batches",
    "InputSpec",
    "Statistics",
    "TensorStats",
    "calibrate",
    "input_specs",
    "open_batches",
    "scan_weights",
    "table_sizes",
]
