"""Converts a model in memory by the same stages as the command line, and judges the result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from autocast_core.config import ConversionConfig
from autocast_core.pipeline.artifacts import Converted
from autocast_core.pipeline.convert import convert_in_memory
from autocast_core.pipeline.job import Job
from autocast_core.plan import PrecisionPlan


def convert(
    model: onnx.ModelProto, config: ConversionConfig, calibration: Mapping[str, Any] | None = None
) -> tuple[onnx.ModelProto, PrecisionPlan]:
    """The converted model and the plan as applied. Raises as `convert_file`, but for models that ONNX Runtime lacks
    kernels for: what their data would say is not known then."""
    made = convert_in_memory(Job(model, replace(config, allow_uncalibrated=True), calibration))[Converted]
    return ir.serde.serialize_model(made.model), made.plan


def calibration_of(feeds: Mapping[str, Any]) -> dict[str, np.ndarray] | None:
    """The feeds as calibration data, None where some are not tensors."""
    if not feeds or not all(isinstance(item, np.ndarray) for item in feeds.values()):
        return None
    return dict(feeds)
