"""Repairing a model by what ONNX Runtime measures of its values, without the pipeline."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import onnx
import onnx_ir as ir

from autocast_core.sanitize.change import Change
from autocast_core.sanitize.range_repairs import Repaired, find_range_repairs, repair_ranges_in_place
from tests.onnx_models import run_in_onnxruntime

LIMIT = 512.0


def inferred(text: str) -> onnx.ModelProto:
    """The model that `text` says, with shapes, each node named after its output."""
    model = onnx.shape_inference.infer_shapes(onnx.parser.parse_model(text))
    for node in model.graph.node:
        node.name = f"n_{node.output[0]}"
    return model


def every_value(model: onnx.ModelProto, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What every node gives, by the names of values."""
    names = [name for node in model.graph.node for name in node.output]
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.output[:]
    copy.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
    return dict(zip(names, run_in_onnxruntime(copy, feeds), strict=True))


def magnitudes(model: onnx.ModelProto, feeds: Mapping[str, np.ndarray]) -> Callable[[ir.Value], float | None]:
    values = every_value(model, feeds)
    largest = {name: float(np.abs(array).max()) for name, array in values.items()}
    return lambda value: largest.get(str(value.name))


def repaired(
    model: onnx.ModelProto, feeds: Mapping[str, np.ndarray], limit: float = LIMIT
) -> tuple[tuple[Change, ...], onnx.ModelProto, Repaired]:
    """What is found for `feeds`, the model after it, and what is known of its values."""
    source = ir.serde.deserialize_model(model)
    changes = find_range_repairs(source, magnitudes(model, feeds), limit)
    done = repair_ranges_in_place(source, changes)
    after = ir.serde.serialize_model(done.model)
    onnx.checker.check_model(after, full_check=True)
    return changes, after, done
