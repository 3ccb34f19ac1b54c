"""Estimated times of engines beside measured ones, and how far the estimate ranks them alike."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from autocast_core.backends.tensorrt.execution import EngineTrial
from autocast_core.backends.tensorrt.validate import validate_model
from autocast_core.config import ConversionConfig
from autocast_core.data import input_specs, open_batches
from autocast_core.engine.devices import DeviceFigures, devices
from autocast_core.engine.validation import FP32, MIXED, Validation
from autocast_core.engine.view import EngineView
from autocast_core.model import load_model
from autocast_core.pipeline.convert import convert_file
from autocast_core.targets.fitting import engine_options
from tests.gpu.checks import Facts, Skipped
from tests.models import BuiltModel, build

MODELS = ("resnet50", "bert_base", "vit_base")
WAYS: Mapping[str, Mapping[str, Any]] = {
    "measured": {"decide": "measured"},
    "all 16-bit": {"data_max": math.inf, "init_max": math.inf, "small_values": False},
}
"""How the models are converted; FP32 stands beside each."""


def known_device(name: str) -> DeviceFigures | None:
    """The device of the data file that a driver calls `name`, for example ``NVIDIA A100-SXM4-80GB``."""
    words = re.split(r"[^a-z0-9]+", name.lower().replace("rtx ", "rtx"))
    return next((device for key, device in devices().items() if key in words), None)


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """Spearman's: the correlation of the ranks; equal values share the mean of theirs."""
    return float(np.corrcoef(_ranks(first), _ranks(second))[0, 1])


def _ranks(values: Sequence[float]) -> np.ndarray:
    array = np.asarray(values)
    below, same = array[None] < array[:, None], array[None] == array[:, None]
    ranks: np.ndarray = below.sum(axis=1) + (same.sum(axis=1) - 1) / 2
    return ranks


def estimates_rank_engines_as_their_times_do(folder: Path, layers: int | None = None) -> Facts:
    """Three models in FP32, as converted by measurement, and all in 16 bits: estimated and measured milliseconds."""
    rows: list[dict[str, Any]] = []
    facts: dict[str, Any] = {}
    for name in MODELS:
        built = build(name, folder / name, layers=layers)
        for way, options in WAYS.items():
            found = _executed(built, options)
            assert found.execution is not None
            device = known_device(found.execution.device)
            if device is None:
                raise Skipped(f"the data file has no {found.execution.device}, only {', '.join(devices())}")
            facts = {"device": found.execution.device, "backend": found.package, "estimate": device.source}
            rows += _rows(name, way, found.estimated_on(device))
    correlation = rank_correlation([each["estimated_ms"] for each in rows], [each["measured_ms"] for each in rows])
    assert correlation > 0
    return {**facts, "rank_correlation": correlation, "engines": rows}


def _executed(built: BuiltModel, options: Mapping[str, Any]) -> Validation:
    low = built.path.with_name("low.onnx")
    plan = convert_file(built.path, low, ConversionConfig(**options), calibration=built.calibration).plan
    model = load_model(low)
    batches = open_batches(built.evaluation, input_specs(model))
    shapes = engine_options(model, ConversionConfig(), batches)
    found = validate_model(low, plan, shapes, model=model, trial=EngineTrial(built.path, batches))
    if found.execution is None:
        raise Skipped("; ".join((*found.skipped, *(each.words for each in found.findings))))
    return found


def _rows(name: str, way: str, found: Validation) -> Iterator[dict[str, Any]]:
    views: Mapping[str, EngineView | None] = {MIXED: found.engine_view, FP32: found.fp32_view}
    assert found.execution is not None
    for side, view in views.items():
        if view is None or side not in found.estimates or side not in found.execution.latency_ms:
            continue
        yield {
            "model": name,
            "engine": way if side == MIXED else f"FP32 beside {way}",
            "estimated_ms": found.estimates[side].ms,
            "measured_ms": found.execution.latency_ms[side].median,
            "described_by": view.described_by,
            **view.metrics(),
        }
