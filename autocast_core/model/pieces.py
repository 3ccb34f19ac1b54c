"""A model as the pieces that a file of it consists of: bytes, and the weights that go between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import onnx
import onnx_ir as ir

from autocast_core.model.locations import SELF
from autocast_core.model.serde import serialize
from autocast_core.model.skeleton import (
    LARGE_BYTES,
    Piece,
    external_fields,
    leads_to_references,
    raw_data_header,
    rewrite,
    without_data,
)
from autocast_core.model.tensors import unconverted
from autocast_core.model.traverse import Change, all_tensors, map_tensors
from autocast_core.model.wire import BytesSource, Field, Source


@dataclass(frozen=True)
class Weight:
    """The place where the bytes of `tensor` belong."""

    tensor: ir.TensorProtocol

    @property
    def nbytes(self) -> int:
        return self.tensor.nbytes


@dataclass(frozen=True)
class Reference:
    """A range of a data file: `location` relative to the model's folder, `offset` and `length` in bytes."""

    location: str
    offset: int
    length: int


Locate = Callable[[ir.TensorProtocol], Reference | None]
"""Where a weight lies, or None where it belongs into the model itself."""


@contextmanager
def exchanged(model: ir.Model, change: Change) -> Iterator[None]:
    """`model` with `change(tensor)` in the place of every tensor, put back in the end."""
    changed = map_tensors(model, change)
    try:
        yield
    finally:
        for original in changed:
            original.put(original.tensor)


def weights(model: ir.Model) -> tuple[ir.TensorProtocol, ...]:
    """The tensors that are streamed instead of going through protobuf, in the model's order."""
    return tuple(unconverted(tensor) for tensor in all_tensors(model) if is_weight(tensor))


def is_weight(tensor: ir.TensorProtocol) -> bool:
    """Whether a tensor is streamed: it is large, or lies in a file."""
    if isinstance(tensor, ir.ExternalTensor):
        return True
    if isinstance(tensor, ir.serde.TensorProtoTensor):
        return tensor.raw.ByteSize() >= LARGE_BYTES
    return tensor.dtype != ir.DataType.STRING and tensor.nbytes >= LARGE_BYTES


def as_stub(tensor: ir.TensorProtocol, location: str) -> ir.ExternalTensor:
    """A tensor that says where its data would be, and is otherwise like `tensor`."""
    return ir.ExternalTensor(
        location,
        None,
        None,
        tensor.dtype,
        shape=ir.Shape(tensor.shape.numpy()),
        name=tensor.name or "",
        doc_string=tensor.doc_string,
        metadata_props=dict(tensor.metadata_props),
    )


def pieces(model: ir.Model, locate: Locate) -> list[Piece]:
    """`model` as bytes and Weights; what `locate` gives a Reference for becomes an external reference."""
    kept: list[ir.TensorProtocol] = []

    def stub(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
        if not is_weight(tensor):
            return tensor
        kept.append(unconverted(tensor))
        return as_stub(tensor, f"{SELF}{len(kept) - 1}")

    with exchanged(model, stub):
        data = serialize(model).SerializeToString()

    def fill(source: Source, field: Field) -> list[Piece] | None:
        index = _stub_index(source, field)
        if index is None:
            return None
        tensor, head = kept[index], without_data(source, field)
        where = locate(tensor)
        if where is not None:
            return [head + external_fields(where.location, where.offset, where.length)]
        return [head + raw_data_header(tensor.nbytes), Weight(tensor)]

    return rewrite(BytesSource(data), leads_to_references(data), fill, _weight_bytes)


def total_bytes(parts: list[Piece]) -> int:
    """The length in bytes of the file that the pieces make."""
    return sum(len(part) if isinstance(part, bytes) else _weight_bytes(part) for part in parts)


def _stub_index(source: Source, field: Field) -> int | None:
    proto = onnx.TensorProto.FromString(source.read(field.payload, field.length))
    for entry in proto.external_data:
        if entry.key == "location" and entry.value.startswith(SELF):
            return int(entry.value.removeprefix(SELF))
    return None


def _weight_bytes(piece: object) -> int:
    assert isinstance(piece, Weight)
    return piece.nbytes
