"""A model's bytes with its large tensors cut out or put in, without ever parsing the tensors.

Reading: every tensor with 4 KiB or more of raw_data, wherever it is (initializers, attributes, bodies, functions),
becomes a reference to the range of the file that holds it. Writing: every stub becomes the tensor it stands for.
Field numbers are those of onnx.proto; raw_data is 9 of TensorProto, external_data 13, data_location 14.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import onnx

from autocast_core.model.protobuf.wire import LEN, BytesSource, Field, Source, WireError, delimited, fields, tag, varint

LARGE_BYTES = 4096
"""Tensors of at least so many bytes stay in their file."""
MAX_DEPTH = 100
"""Nesting of messages that protobuf itself accepts."""

_RAW_DATA, _EXTERNAL_DATA, _DATA_LOCATION = 9, 13, 14
_LOCATION_KEY = b"\n\x08location"
_EXTERNAL = tag(_DATA_LOCATION, 0) + b"\x01"

_TENSOR: Mapping[int, str] = MappingProxyType({})
_MESSAGES: Mapping[str, Mapping[int, str]] = MappingProxyType(
    {
        "model": {7: "graph", 25: "function"},
        "graph": {1: "node", 5: "tensor"},
        "function": {7: "node", 11: "attribute"},
        "node": {5: "attribute"},
        "attribute": {5: "tensor", 10: "tensor", 6: "graph", 11: "graph"},
    }
)

Part = bytes | object
"""Bytes as they are, or something that `size_of` measures and that a writer knows how to write."""
Replace = Callable[[Source, Field], list[Part] | None]
"""The new payload of a tensor, in parts, or None to leave it."""


def skeleton(source: Source, location: str) -> bytes:
    """The model in `source` with large raw_data replaced by external references to file `location`.

    Raises WireError where the bytes are not an ONNX model.
    """

    def reference(source: Source, tensor: Field) -> list[Part] | None:
        return _reference(source, tensor, location)

    parts = rewrite(source, lambda field: field.length >= LARGE_BYTES, reference, _no_objects)
    return b"".join(part for part in parts if isinstance(part, bytes))


def rewrite(
    source: Source, descend: Callable[[Field], bool], replace: Replace, size_of: Callable[[object], int]
) -> list[Part]:
    """The model in `source` as parts, with `replace` applied to every tensor that `descend` leads to.

    Lengths of the enclosing messages are set right. Raises WireError where the bytes are not an ONNX model.
    """
    total = Field(0, LEN, 0, 0, source.size)

    def size(part: Part) -> int:
        return len(part) if isinstance(part, bytes) else size_of(part)

    def walk(message: Field, kind: str, depth: int) -> list[Part] | None:
        if depth > MAX_DEPTH:
            raise WireError(f"messages are nested more than {MAX_DEPTH} deep")
        if kind == "tensor":
            return replace(source, message)
        parts: list[Part] = []
        copied = message.payload
        inner = _MESSAGES[kind]
        for field in fields(source, message.payload, message.end):
            if field.number not in inner or field.wire_type != LEN or not (kind == "model" or descend(field)):
                continue
            changed = walk(field, inner[field.number], depth + 1)
            if changed is not None:
                parts.append(source.read(copied, field.start - copied))
                parts.append(tag(field.number) + varint(sum(map(size, changed))))
                parts += changed
                copied = field.end
        if copied == message.payload:
            return None
        parts.append(source.read(copied, message.end - copied))
        return parts

    return walk(total, "model", 0) or [source.read(0, source.size)]


def external_locations(model: bytes) -> dict[str, str]:
    """Where the tensors of a serialised model have their external data, in order of use, with a tensor for each."""
    found: dict[str, str] = {}

    if _LOCATION_KEY not in model:
        return found

    def note(source: Source, field: Field) -> None:
        tensor = onnx.TensorProto.FromString(source.read(field.payload, field.length))
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            for entry in tensor.external_data:
                if entry.key == "location":
                    found.setdefault(entry.value, tensor.name)

    rewrite(BytesSource(model), leads_to_references(model), note, _no_objects)
    return found


def relocated(model: bytes, location: str) -> bytes:
    """The serialised model with all its external data said to lie in file `location`."""
    if _LOCATION_KEY not in model:
        return model

    def replace(source: Source, field: Field) -> list[Part]:
        tensor = onnx.TensorProto.FromString(source.read(field.payload, field.length))
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
        return [tensor.SerializeToString()]

    parts = rewrite(BytesSource(model), leads_to_references(model), replace, _no_objects)
    return b"".join(part for part in parts if isinstance(part, bytes))


def leads_to_references(model: bytes) -> Callable[[Field], bool]:
    """Whether a field of the serialised `model` holds a reference to external data: all have this key."""
    return lambda field: model.find(_LOCATION_KEY, field.payload, field.end) >= 0


def external_fields(location: str, offset: int, length: int) -> bytes:
    """The fields of a TensorProto that say where its data lie."""
    entries = (("location", location), ("offset", str(offset)), ("length", str(length)))
    return (
        b"".join(
            delimited(_EXTERNAL_DATA, delimited(1, key.encode()) + delimited(2, value.encode()))
            for key, value in entries
        )
        + _EXTERNAL
    )


def raw_data_header(length: int) -> bytes:
    """What precedes `length` bytes of raw_data in a TensorProto."""
    return tag(_RAW_DATA) + varint(length)


def without_data(source: Source, tensor: Field) -> bytes:
    """The fields of a TensorProto other than those that hold or locate its data."""
    data = (_RAW_DATA, _EXTERNAL_DATA, _DATA_LOCATION)
    kept = [field for field in fields(source, tensor.payload, tensor.end) if field.number not in data]
    return b"".join(source.read(field.start, field.end - field.start) for field in kept)


def _reference(source: Source, tensor: Field, location: str) -> list[Part] | None:
    raw = None
    for field in fields(source, tensor.payload, tensor.end):
        if field.number == _DATA_LOCATION and source.read(field.payload, 1) == b"\x01":
            return None  # its data are elsewhere already
        if field.number == _RAW_DATA and field.wire_type == LEN:
            raw = field
    if raw is None or raw.length < LARGE_BYTES:
        return None
    return [without_data(source, tensor) + external_fields(location, raw.payload, raw.length)]


def _no_objects(part: object) -> int:
    raise TypeError(part)
