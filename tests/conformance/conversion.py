"""Converts a model in memory by the same stages as the command line, and judges the result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from autocast_core.apply import apply_plan
from autocast_core.config import ConversionConfig
from autocast_core.model import load_proto
from autocast_core.pipeline.convert import make_plan, open_runtime, verify_converted
from autocast_core.plan import PrecisionPlan
from autocast_core.verify import check_source, model_interface


def convert(
    model: onnx.ModelProto, config: ConversionConfig, calibration: Mapping[str, Any] | None = None
) -> tuple[onnx.ModelProto, PrecisionPlan]:
    """The converted model and the plan as applied. Raises as `convert_file`."""
    source = load_proto(model)
    check_source(source)
    runtime = open_runtime(config)
    sanitized, plan = make_plan(source, config, runtime, calibration)
    applied = apply_plan(sanitized.model, plan)
    verify_converted(applied.model, model_interface(source), applied.plan, runtime, lambda: source)
    return ir.serde.serialize_model(applied.model), applied.plan


def calibration_of(feeds: Mapping[str, Any]) -> dict[str, np.ndarray] | None:
    """The feeds as calibration data, None where some are no tensors."""
    if not feeds or not all(isinstance(item, np.ndarray) for item in feeds.values()):
        return None
    return dict(feeds)
