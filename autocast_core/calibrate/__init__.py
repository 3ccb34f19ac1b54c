"""Calibration: per tensor statistics over data, measured inside the running graph."""

from autocast_core.calibrate.runnable_part import RunnablePart, custom_nodes, runnable_part
from autocast_core.calibrate.runner import (
    STRETCH,
    BatchSpan,
    Calibrated,
    calibrate,
    merged,
    stretches,
)
from autocast_core.calibrate.statistics import Statistics, TensorStats
from autocast_core.calibrate.weights import Scanned, WeightScan, scan_weights

__all__ = [
    "STRETCH",
    "BatchSpan",
    "Calibrated",
    "RunnablePart",
    "Scanned",
    "Statistics",
    "TensorStats",
    "WeightScan",
    "calibrate",
    "custom_nodes",
    "merged",
    "runnable_part",
    "scan_weights",
    "stretches",
]
