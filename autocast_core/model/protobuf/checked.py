"""Tensors as a file describes them, checked against the bytes that are there."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir

from autocast_core.errors import ModelError
from autocast_core.model.protobuf.skeleton import LARGE_BYTES
from autocast_core.model.tensors import DataFile, FileTensor, little_endian

_LARGEST = 1 << 50  # bytes; no file is larger, and products stay exact
# Which typed field holds the elements of a type when raw_data does not, and how many entries an element takes.
# Source: the comments of TensorProto in onnx.proto.
_KNOWN_TYPES = frozenset(int(dtype) for dtype in ir.DataType) - {ir.DataType.UNDEFINED}
_WIDE = {ir.DataType.COMPLEX64: 2, ir.DataType.COMPLEX128: 2}
_FIELDS = {
    ir.DataType.FLOAT: "float_data",
    ir.DataType.COMPLEX64: "float_data",
    ir.DataType.DOUBLE: "double_data",
    ir.DataType.COMPLEX128: "double_data",
    ir.DataType.INT64: "int64_data",
    ir.DataType.UINT32: "uint64_data",
    ir.DataType.UINT64: "uint64_data",
}


def checked(tensor: ir.TensorProtocol, label: str) -> ir.TensorProtocol:
    """`tensor`, held in the model itself. ModelError where its data are fewer or more than its shape says.

    A small tensor of whole bytes becomes an array: onnx_ir's view of a protobuf tensor works out its type, shape and
    values anew whenever they are asked for. One in typed fields stays as it is, so that it is written as it was.
    """
    if isinstance(tensor, ir.serde.TensorProtoTensor):
        return _checked_proto(tensor, tensor.raw, label)
    if isinstance(tensor, ir.StringTensor):
        dims = tuple(tensor.shape.numpy())
        _compare(tensor.name, dims, len(tensor.string_data()), _count(tensor.name, dims, label), "strings", label)
    return tensor


def _checked_proto(tensor: ir.serde.TensorProtoTensor, proto: onnx.TensorProto, label: str) -> ir.TensorProtocol:
    name, dims = proto.name, tuple(proto.dims)
    if proto.data_type not in _KNOWN_TYPES:
        raise ModelError(
            f"{label}: tensor {name!r} has the unknown element type {proto.data_type}: export the model again"
        )
    dtype = ir.DataType(proto.data_type)
    if not proto.HasField("raw_data"):
        found = len(getattr(proto, _FIELDS.get(dtype, "int32_data")))
        _compare(name, dims, found, _expected_entries(name, dims, dtype, label), "values", label)
        return tensor
    data = proto.raw_data
    _compare(name, dims, len(data), _bytes(name, dims, dtype, label), "bytes", label)
    if dtype.bitwidth < 8 or len(data) >= LARGE_BYTES:
        return tensor
    array = np.frombuffer(data, little_endian(dtype)).reshape(dims)
    properties = {entry.key: entry.value for entry in proto.metadata_props}
    return ir.Tensor(
        array, dtype, shape=ir.Shape(dims), name=name, doc_string=proto.doc_string or None, metadata_props=properties
    )


def _compare(name: str | None, dims: tuple[int, ...], found: int, expected: int, unit: str, label: str) -> None:
    if found != expected:
        raise ModelError(
            f"{label}: tensor {name!r} of shape {list(dims)} holds {found} {unit} instead of {expected}: "
            "export the model again"
        )


def file_tensor(tensor: ir.ExternalTensor, file: DataFile, folder: Path, label: str) -> FileTensor:
    """`tensor` bound to its file. ModelError where the file is shorter than the tensor, or the lengths disagree."""
    name, offset, dims = tensor.name, tensor.offset or 0, tuple(tensor.shape.numpy())
    length = _bytes(name, dims, tensor.dtype, label)
    if tensor.length is not None and tensor.length != length:
        raise ModelError(
            f"{label}: external data of tensor {name!r}: {tensor.length} bytes are given for shape {list(dims)}, "
            f"which takes {length}: export the model again"
        )
    if offset + length > file.size:
        raise ModelError(
            f"{file.path}: too short for tensor {name!r} of {label}: it ends at byte {offset + length}, "
            f"the file at {file.size}: fetch the file again"
        )
    placed = FileTensor(file, folder, offset, tensor.dtype, tensor.shape, name)
    placed.doc_string = tensor.doc_string
    placed.metadata_props.update(tensor.metadata_props)
    return placed


def _count(name: str | None, dims: tuple[int, ...], label: str) -> int:
    # Arrays without elements have the same limit on their other dimensions.
    extent = math.prod(max(dim, 1) for dim in dims)
    if min(dims, default=0) < 0 or extent > _LARGEST:
        raise ModelError(f"{label}: tensor {name!r} has the impossible shape {list(dims)}: export the model again")
    return 0 if 0 in dims else extent


def _bytes(name: str | None, dims: tuple[int, ...], dtype: ir.DataType, label: str) -> int:
    if dtype in (ir.DataType.UNDEFINED, ir.DataType.STRING):
        raise ModelError(
            f"{label}: tensor {name!r} has type {dtype}, which cannot be stored as bytes: export the model again"
        )
    return -(-_count(name, dims, label) * dtype.bitwidth // 8)


def _expected_entries(name: str | None, dims: tuple[int, ...], dtype: ir.DataType, label: str) -> int:
    count = _count(name, dims, label)
    packed = dtype.bitwidth if dtype.bitwidth < 8 else 8
    return -(-count * packed // 8) if packed in (2, 4) else count * _WIDE.get(dtype, 1)
