"""What many tests ask of an ONNX model: to run it, and which types and operators it has."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.reference
import onnxruntime


def run_in_onnxruntime(model: onnx.ModelProto | Path, feeds: Mapping[str, Any]) -> list[Any]:
    """Every output of the model as it is written, without graph optimisation; feeds that it does not have are left out.

    On one thread, since tests run side by side.
    """
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    content = model.SerializeToString() if isinstance(model, onnx.ModelProto) else str(model)
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    names = {value.name for value in (*session.get_inputs(), *session.get_overridable_initializers())}
    return session.run(None, {name: value for name, value in feeds.items() if name in names})


def run_in_reference(model: onnx.ModelProto, feeds: Mapping[str, np.ndarray]) -> list[Any]:
    """Every output of the model by ONNX's reference evaluator, which rounds every 16-bit result."""
    return onnx.reference.ReferenceEvaluator(model).run(None, dict(feeds))


def operator_types(model: onnx.ModelProto | Path) -> list[str]:
    """The operators of the main graph, in order."""
    loaded = model if isinstance(model, onnx.ModelProto) else onnx.load(model, load_external_data=False)
    return [node.op_type for node in loaded.graph.node]


def interface_types(model: onnx.ModelProto) -> dict[str, int]:
    """Element type (onnx.TensorProto.DataType) of every graph input and output, by name."""
    return {info.name: info.type.tensor_type.elem_type for info in (*model.graph.input, *model.graph.output)}
