"""Takes the weights out of an exported graph: every large float tensor becomes a stub that names its role.

A stub keeps name, dims and dtype; its doc_string holds the role, which recipe.py turns into values. Roles are read
from what the tensor feeds, so they hold for any exporter. Tensors of at most 1 KiB and integer tensors stay inline.
Masks and index tables are part of the architecture, not weights: large ones are stored deflated, exactly.
"""

import math
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import onnx
from onnx import numpy_helper

from tests.models.recipe import sinusoids

INLINE_BYTES = 1024
_DISTINCT_IN_A_MASK = 16
_LAYOUT = {"Identity", "Transpose", "Reshape", "Unsqueeze", "Squeeze", "Flatten", "Cast"}
_TRANSPARENT = _LAYOUT | {"BatchNormalization", "InstanceNormalization", "GroupNormalization", "Dropout"}
_RECTIFIERS = {"Relu", "Clip", "LeakyRelu", "PRelu"}

Roles = Mapping[str, str]


class Uses:
    """Who produces and who reads each value of a graph, bodies included."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.producer: dict[str, onnx.NodeProto] = {}
        self.readers: dict[str, list[tuple[onnx.NodeProto, int]]] = {}
        self.constants = {tensor.name for tensor in graph.initializer}
        for node in _nodes(graph):
            for output in node.output:
                self.producer[output] = node
            for index, name in enumerate(node.input):
                self.readers.setdefault(name, []).append((node, index))

    def is_constant(self, name: str) -> bool:
        """True for initializers, Constants, and what is only reshaped from them."""
        node = self.producer.get(name)
        if node is None:
            return name in self.constants
        return node.op_type == "Constant" or (node.op_type in _LAYOUT and self.is_constant(node.input[0]))


def strip(model: onnx.ModelProto, overrides: Roles) -> dict[str, str]:
    """Strip `model` in place; return the role of every stub.

    `overrides` maps a regex, searched in the names of a tensor and of the nodes that read it, to a role that the
    graph cannot tell. Raises ValueError for a large float tensor without a role.
    """
    _forget_debugging(model)
    _constants_to_initializers(model.graph)
    uses = Uses(model.graph)
    roles: dict[str, str] = {}
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for tensor in model.graph.initializer:
        value = values[tensor.name]
        if value.nbytes <= INLINE_BYTES:
            continue
        if value.dtype != np.float32 or np.unique(value).size <= _DISTINCT_IN_A_MASK:
            _replace(tensor, "deflated", zlib.compress(value.tobytes(), 9))
            continue
        role = _twin(tensor.name, values, roles) or _formula(value) or _role(tensor, uses, overrides)
        _replace(tensor, role)
        roles[tensor.name] = role
    return roles


def _replace(tensor: onnx.TensorProto, role: str, packed: bytes | None = None) -> None:
    stub = onnx.TensorProto(name=tensor.name, dims=tensor.dims, data_type=tensor.data_type, doc_string=role)
    if packed is not None:
        stub.raw_data = packed
    tensor.CopyFrom(stub)


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _nodes(attribute.g)


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    for node in _nodes(graph):
        yield from (attribute.g for attribute in node.attribute if attribute.HasField("g"))


def _forget_debugging(model: onnx.ModelProto) -> None:
    """Drop stack traces, doc strings and inferred shapes: they are most of a graph's bytes."""
    del model.metadata_props[:]
    model.doc_string = ""
    for graph in _graphs(model.graph):
        del graph.value_info[:], graph.metadata_props[:], graph.quantization_annotation[:]
        graph.doc_string = ""
        described: Iterable[onnx.NodeProto | onnx.ValueInfoProto | onnx.TensorProto]
        for described in (graph.node, graph.input, graph.output, graph.initializer):
            for item in described:
                item.doc_string = ""
                del item.metadata_props[:]


def _constants_to_initializers(graph: onnx.GraphProto) -> None:
    """Large Constant nodes become initializers, so that all stubs are in one place."""
    kept = []
    for node in graph.node:
        tensor = next((a.t for a in node.attribute if a.name == "value" and node.op_type == "Constant"), None)
        if tensor is not None and numpy_helper.to_array(tensor).nbytes > INLINE_BYTES:
            moved = graph.initializer.add()
            moved.CopyFrom(tensor)
            moved.name = node.output[0]
        else:
            kept.append(onnx.NodeProto.FromString(node.SerializeToString()))
    del graph.node[:]
    graph.node.extend(kept)


def _twin(name: str, values: Mapping[str, np.ndarray], earlier: Roles) -> str | None:
    """The role of a second copy of a tensor (tied weights), or None."""
    value = values[name]
    if value.ndim != 2:
        return None
    for other in earlier:
        if np.array_equal(values[other], value):
            return f"copy {other}"
        if values[other].shape == value.shape[::-1] and np.array_equal(values[other][:, 0], value[0]):
            return f"transpose {other}"
    return None


def _formula(value: np.ndarray) -> str | None:
    """The name of the formula that gives the table `value`, or None."""
    is_table = value.ndim == 2 and value.shape[1] % 2 == 0 and value.shape[1] > 2
    return "sinusoids" if is_table and np.allclose(value, sinusoids(*value.shape), atol=1e-3) else None


def _role(tensor: onnx.TensorProto, uses: Uses, overrides: Roles) -> str:
    readers = list(_readers(tensor.name, uses, ()))
    names = " ".join([tensor.name, *(node.name for node, _, _ in readers)])
    for pattern, role in overrides.items():
        if re.search(pattern, names):
            return role
    for node, index, layout in readers:
        found_role = _role_at(node, index, layout, tuple(tensor.dims), uses)
        if found_role:
            return found_role
    found = sorted({f"{node.op_type}[{index}]" for node, index, _ in readers})
    raise ValueError(f"no role for {tensor.name} {list(tensor.dims)}, read by {found}: add a rule or an override")


def _readers(name: str, uses: Uses, layout: tuple[str, ...]) -> Iterator[tuple[onnx.NodeProto, int, tuple[str, ...]]]:
    """Readers of a value, looking through layout operators, with the operators passed on the way."""
    for node, index in uses.readers.get(name, []):
        if node.op_type in _LAYOUT and index == 0:
            yield from _readers(node.output[0], uses, (*layout, node.op_type))
        else:
            yield node, index, layout


_BY_POSITION = {
    ("Gather", 0): "embedding 0.02",
    ("Concat", 0): "embedding 0.02",
    ("Expand", 0): "embedding 0.02",
    ("BatchNormalization", 1): "gain",
    ("BatchNormalization", 2): "shift",
    ("BatchNormalization", 3): "mean",
    ("BatchNormalization", 4): "variance",
    **{(f"{kind}Normalization", 1): "gain" for kind in ("Layer", "Instance", "Group")},
    **{(f"{kind}Normalization", 2): "shift" for kind in ("Layer", "Instance", "Group")},
    ("LSTM", 3): "bias",
    ("GRU", 3): "bias",
    ("Conv", 2): "bias",
    ("ConvTranspose", 2): "bias",
    ("Gemm", 2): "bias",
}


def _role_at(
    node: onnx.NodeProto, index: int, layout: tuple[str, ...], dims: tuple[int, ...], uses: Uses
) -> str | None:
    if (node.op_type, index) in _BY_POSITION:
        return _BY_POSITION[node.op_type, index]
    fan_in = _fan_in(node, index, "Transpose" in layout, dims)
    if fan_in:
        return f"weight {fan_in} {_gain(node, uses):.4g}"
    is_vector = math.prod(dims) == max(dims)
    if node.op_type == "Mul" and is_vector:
        return "gain"
    if node.op_type == "Add" and is_vector:
        producer = uses.producer.get(node.input[1 - index])
        return "shift" if producer is not None and producer.op_type == "Mul" else "bias"
    if node.op_type == "Add":
        return "embedding 0.02"
    return None


def _fan_in(node: onnx.NodeProto, index: int, transposed: bool, dims: tuple[int, ...]) -> int | None:
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    if node.op_type == "Conv" and index == 1:
        return math.prod(dims[1:])
    if node.op_type == "ConvTranspose" and index == 1:
        stride = math.prod(attributes.get("strides", [1]))
        return max(1, dims[0] // attributes.get("group", 1) * math.prod(dims[2:]) // stride)
    if node.op_type in {"LSTM", "GRU"} and index in {1, 2}:
        return dims[-1]
    if node.op_type in {"MatMul", "Gemm"} and index == 1:
        flips = bool(attributes.get("transB", 0)) != transposed
        return dims[-1] if flips else dims[-2]
    return None


def _gain(node: onnx.NodeProto, uses: Uses) -> float:
    """√2 before a rectifier, ½ at the end of a residual branch, else 1 (recipe.py says why)."""
    for reader, index in uses.readers.get(node.output[0], []):
        if reader.op_type in _RECTIFIERS:
            return math.sqrt(2)
        if reader.op_type == "Add" and not uses.is_constant(reader.input[1 - index]):
            return 0.5
        if reader.op_type in _TRANSPARENT or reader.op_type == "Add":
            return _gain(reader, uses)
    return 1.0
