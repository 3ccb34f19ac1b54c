"""Tensors as a file describes them, checked against the bytes that are there."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnx_ir as ir

from autocast_core.errors import ModelError
from autocast_core.model.skeleton import LARGE_BYTES
from autocast_core.model.tensors import DataFile, FileTensor

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
    """`tensor`, held in the model itself. ModelError where its data are fewer or more than its shape says."""
    if isinstance(tensor, ir.StringTensor):
        found, expected, unit = len(tensor.string_data()), _count(tensor, label), "strings"
    elif isinstance(tensor, ir.serde.TensorProtoTensor):
        proto = tensor.raw
        if proto.data_type not in _KNOWN_TYPES:
            raise ModelError(f"{label}: tensor {tensor.name!r} has the unknown element type {proto.data_type}")
        if proto.HasField("raw_data"):
            found, expected, unit = len(proto.raw_data), _bytes(tensor, label), "bytes"
        else:
            found, expected, unit = _entries(tensor, proto), _expected_entries(tensor, label), "values"
    else:
        return tensor
    if found != expected:
        raise ModelError(
            f"{label}: tensor {tensor.name!r} of shape {_shape(tensor)} holds {found} {unit} instead of {expected}: "
            "export the model again"
        )
    return _as_array(tensor) if isinstance(tensor, ir.serde.TensorProtoTensor) else tensor


def _as_array(tensor: ir.serde.TensorProtoTensor) -> ir.TensorProtocol:
    """A small tensor of whole bytes as an array: onnx_ir's view of a protobuf tensor works out its type, shape and
    values anew whenever they are asked for. One in typed fields stays as it is, so that it is written as it was."""
    if tensor.dtype.bitwidth < 8 or not tensor.raw.HasField("raw_data") or tensor.raw.ByteSize() >= LARGE_BYTES:
        return tensor
    shape = ir.Shape(tensor.shape.numpy())
    return ir.Tensor(
        tensor.numpy(),
        tensor.dtype,
        shape=shape,
        name=tensor.name,
        doc_string=tensor.doc_string,
        metadata_props=dict(tensor.metadata_props),
    )


def file_tensor(tensor: ir.ExternalTensor, file: DataFile, folder: Path, label: str) -> FileTensor:
    """`tensor` bound to its file. ModelError where the file is shorter than the tensor, or the lengths disagree."""
    name, offset, length = tensor.name, tensor.offset or 0, _bytes(tensor, label)
    if tensor.length is not None and tensor.length != length:
        raise ModelError(
            f"{label}: external data of tensor {name!r}: {tensor.length} bytes are given for shape {_shape(tensor)}, "
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


def _shape(tensor: ir.TensorProtocol) -> list[int]:
    return list(tensor.shape.numpy())


def _count(tensor: ir.TensorProtocol, label: str) -> int:
    count = 1
    for dim in _shape(tensor):
        count *= dim
        if dim < 0 or count > _LARGEST:
            raise ModelError(f"{label}: tensor {tensor.name!r} has the impossible shape {_shape(tensor)}")
    return count


def _bytes(tensor: ir.TensorProtocol, label: str) -> int:
    if tensor.dtype in (ir.DataType.UNDEFINED, ir.DataType.STRING):
        raise ModelError(f"{label}: tensor {tensor.name!r} has type {tensor.dtype}, which cannot be stored as bytes")
    return -(-_count(tensor, label) * tensor.dtype.bitwidth // 8)


def _entries(tensor: ir.TensorProtocol, proto: onnx.TensorProto) -> int:
    return len(getattr(proto, _FIELDS.get(tensor.dtype, "int32_data")))


def _expected_entries(tensor: ir.TensorProtocol, label: str) -> int:
    count = _count(tensor, label)
    packed = tensor.dtype.bitwidth if tensor.dtype.bitwidth < 8 else 8
    return -(-count * packed // 8) if packed in (2, 4) else count * _WIDE.get(tensor.dtype, 1)
