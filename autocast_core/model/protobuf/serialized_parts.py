"""A model as its structure and its weights, and as the parts that a file of it consists of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import onnx
import onnx_ir as ir

from autocast_core.graph.constants import stored_bytes
from autocast_core.model.protobuf.serde import serialize, serialize_for_runtime
from autocast_core.model.protobuf.skeleton import (
    LARGE_BYTES,
    Part,
    external_fields,
    leads_to_references,
    raw_data_header,
    rewrite,
    without_data,
)
from autocast_core.model.protobuf.wire import BytesSource, Field, Source
from autocast_core.model.tensors import ConvertedTensor, unconverted
from autocast_core.model.traverse import Change, map_tensors

WEIGHTS_LOCATION = "weights"
"""Where a structure says that its weights are; the checker wants a file of that name beside the model."""


@dataclass(frozen=True)
class Structure:
    """A serialised model without its weights: each is an external tensor at WEIGHTS_LOCATION whose offset is its number
    in `weights`. Small tensors, whose values shapes depend on, are in `data`."""

    data: bytes
    weights: tuple[ir.TensorProtocol, ...]


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


def is_weight(tensor: ir.TensorProtocol) -> bool:
    """Whether a tensor is streamed: it is large, or lies in a file."""
    if type(tensor) in (ir.Tensor, ConvertedTensor):  # by far the most; what follows asks protocols, which is slow
        return stored_bytes(tensor) >= LARGE_BYTES
    if isinstance(tensor, ir.ExternalTensor):
        return True
    if isinstance(tensor, ir.serde.TensorProtoTensor):
        return int(tensor.raw.ByteSize()) >= LARGE_BYTES
    return tensor.dtype != ir.DataType.STRING and tensor.nbytes >= LARGE_BYTES


def structure_of(model: ir.Model) -> Structure:
    """`model` serialised once, for all that looks at its structure or writes it. ModelError as serialize."""
    return _structure(model, serialize)


def structure_for_runtime(model: ir.Model) -> Structure:
    """As `structure_of`, without what encode_for_runtime leaves out."""
    return _structure(model, serialize_for_runtime)


def _structure(model: ir.Model, serialized_by: Callable[[ir.Model], onnx.ModelProto]) -> Structure:
    kept: list[ir.TensorProtocol] = []

    def stub(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
        if not is_weight(tensor):
            return tensor
        kept.append(unconverted(tensor))
        return _stub(tensor, len(kept) - 1)

    with exchanged(model, stub):
        data = serialized_by(model).SerializeToString()
    return Structure(data, tuple(kept))


def serialized_parts(structure: Structure, locate: Locate) -> list[Part]:
    """The model as bytes and Weights; what `locate` gives a Reference for becomes an external reference."""

    def fill(source: Source, field: Field) -> list[Part] | None:
        index = _stub_index(source, field)
        if index is None:
            return None
        tensor, head = structure.weights[index], without_data(source, field)
        where = locate(tensor)
        if where is not None:
            return [head + external_fields(where.location, where.offset, where.length)]
        return [head + raw_data_header(tensor.nbytes), Weight(tensor)]

    data = structure.data
    if not structure.weights:
        return [data]
    return rewrite(BytesSource(data), leads_to_references(data), fill, _weight_bytes)


def total_bytes(parts: list[Part]) -> int:
    """The length in bytes of the file that the parts make."""
    return sum(len(part) if isinstance(part, bytes) else _weight_bytes(part) for part in parts)


def _stub(tensor: ir.TensorProtocol, index: int) -> ir.ExternalTensor:
    """A tensor that is like `tensor` but for its data."""
    return ir.ExternalTensor(
        WEIGHTS_LOCATION,
        index,
        None,
        tensor.dtype,
        shape=ir.Shape(tensor.shape.numpy()),
        name=tensor.name or "",
        doc_string=tensor.doc_string,
        metadata_props=dict(tensor.metadata_props),
    )


def _stub_index(source: Source, field: Field) -> int | None:
    proto = onnx.TensorProto.FromString(source.read(field.payload, field.length))
    if proto.data_location != onnx.TensorProto.EXTERNAL:
        return None
    return next(int(entry.value) for entry in proto.external_data if entry.key == "offset")


def _weight_bytes(part: object) -> int:
    assert isinstance(part, Weight)
    return part.nbytes
