"""What tests of diagnoses share: models from text, whole conversion to FP16, and a diagnosis of two models."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnx.numpy_helper
import onnx.parser

from autocast_core.backends.onnxruntime import OnnxRuntime
from autocast_core.data import Batches, input_specs, open_batches, table_sizes
from autocast_core.diagnose import Diagnosis, diagnose
from autocast_core.model import load_proto

_FLOAT, _FLOAT16 = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16


def model(body: str, io: str, weights: str = "", opset: int = 17) -> onnx.ModelProto:
    """A model from ONNX text: `io` as ``(float[4] x) => (float[4] y)``."""
    return onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["" : {opset}]>\ng {io} {f"<{weights}>" if weights else ""} {{\n{body}\n}}'
    )


def whole_fp16(source: onnx.ModelProto) -> onnx.ModelProto:
    """Every float tensor as FP16 but inputs and outputs, which get Casts: what a careless converter makes."""
    low = onnx.ModelProto()
    low.CopyFrom(source)
    graph = low.graph
    for tensor in graph.initializer:
        if tensor.data_type == _FLOAT:
            tensor.CopyFrom(_halved(tensor))
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR and attribute.t.data_type == _FLOAT:
                attribute.t.CopyFrom(_halved(attribute.t))
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == _FLOAT:
                attribute.i = _FLOAT16
    renamed = {}
    for place, ports in (("in", graph.input), ("out", graph.output)):
        for port in ports:
            if port.type.tensor_type.elem_type == _FLOAT:
                renamed[port.name] = f"{port.name}.{place}"
    for node in graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                names[index] = renamed.get(name, name)
    del graph.value_info[:]
    casts = [(p.name, renamed[p.name], _FLOAT16) for p in graph.input if p.name in renamed]
    for number, (before, after, kind) in enumerate(casts):
        node = onnx.helper.make_node("Cast", [before], [after], name=f"cast_in_{number}", to=kind)
        graph.node.insert(0, node)
    for number, port in enumerate(p for p in graph.output if p.name in renamed):
        node = onnx.helper.make_node("Cast", [renamed[port.name]], [port.name], name=f"cast_out_{number}", to=_FLOAT)
        graph.node.append(node)
    return low


def diagnosed(
    reference: onnx.ModelProto, candidate: onnx.ModelProto, data: Mapping[str, Any] | None = None, **options: Any
) -> Diagnosis:
    """The diagnosis on `data` (arrays by input name; None: seeded random), four samples a batch."""
    ours, theirs = load_proto(reference), load_proto(candidate)
    batches = options.pop("batches", None) or batches_of(reference, data)
    return diagnose(ours, theirs, batches, OnnxRuntime(threads=1), **options)


def batches_of(reference: onnx.ModelProto, data: Mapping[str, Any] | None) -> Batches:
    """`data` for `reference`, four samples a batch."""
    loaded = load_proto(reference)
    specs, rows = input_specs(loaded), table_sizes(loaded)
    return open_batches(data, specs, batch_size=4, shapes={}, seed=0, table_sizes=rows, finite=False)


def normal(*shape: int, seed: int = 0, scale: float = 1.0) -> np.ndarray:
    """Normal numbers, FP32."""
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(np.float32)


def _halved(tensor: onnx.TensorProto) -> onnx.TensorProto:
    with np.errstate(over="ignore"):
        array = onnx.numpy_helper.to_array(tensor).astype(np.float16)
    return onnx.numpy_helper.from_array(array, tensor.name)
