"""Writes a graph and its weights one tensor at a time, so that no more than one large weight is in memory."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx

Values = Callable[[onnx.TensorProto], np.ndarray]

# Tags (field number << 3 | 2) of onnx.proto: ModelProto.graph, GraphProto.initializer, TensorProto.raw_data.
_GRAPH, _INITIALIZER, _RAW_DATA = b"\x3a", b"\x2a", b"\x4a"
_PAGE = 4096


def write_inline(path: Path, model: onnx.ModelProto, weights: Sequence[onnx.TensorProto], values: Values) -> None:
    """Write one file. `weights` are FP32 stubs that `model` lacks; `values` gives each one's array."""
    heads = [_head(stub) for stub in weights]
    sizes = [4 * math.prod(stub.dims) for stub in weights]
    graph = model.graph.SerializeToString(deterministic=True)
    rest = onnx.ModelProto()
    rest.CopyFrom(model)
    rest.ClearField("graph")
    total = len(graph) + sum(
        len(_INITIALIZER + _varint(len(head) + size)) + len(head) + size
        for head, size in zip(heads, sizes, strict=True)
    )
    with path.open("wb") as file:
        file.write(rest.SerializeToString(deterministic=True) + _GRAPH + _varint(total) + graph)
        for stub, head, size in zip(weights, heads, sizes, strict=True):
            file.write(_INITIALIZER + _varint(len(head) + size) + head)
            file.write(_little_endian(values(stub)).data)


def write_external(path: Path, model: onnx.ModelProto, weights: Sequence[onnx.TensorProto], values: Values) -> None:
    """Write the graph and, beside it, NAME.data with every weight at a page boundary."""
    data = path.with_name(path.name + ".data")
    with data.open("wb") as file:
        for stub in weights:
            offset = -(-file.tell() // _PAGE) * _PAGE
            length = 4 * math.prod(stub.dims)
            file.write(bytes(offset - file.tell()))
            file.write(_little_endian(values(stub)).data)
            tensor = model.graph.initializer.add()
            tensor.CopyFrom(stub)
            tensor.ClearField("doc_string")
            tensor.data_location = onnx.TensorProto.EXTERNAL
            for key, value in (("location", data.name), ("offset", offset), ("length", length)):
                tensor.external_data.add(key=key, value=str(value))
    path.write_bytes(model.SerializeToString(deterministic=True))


def _head(stub: onnx.TensorProto) -> bytes:
    named = onnx.TensorProto(name=stub.name, dims=stub.dims, data_type=stub.data_type)
    return bytes(named.SerializeToString(deterministic=True)) + _RAW_DATA + _varint(4 * math.prod(stub.dims))


def _little_endian(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array, dtype="<f4")


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
