"""The protobuf wire format: walking a message without parsing it, and writing fields.

Source: the protobuf encoding page, https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

VARINT, I64, LEN, I32 = 0, 1, 2, 5
_WINDOW = 1 << 15
_HEADER = 20  # a tag and a length, ten bytes each at most


class WireError(ValueError):
    """The bytes are not a protobuf message."""


class Source(Protocol):
    """Bytes that can be read anywhere; `read` returns exactly `length` bytes or raises WireError."""

    @property
    def size(self) -> int: ...

    def read(self, start: int, length: int) -> bytes: ...


@dataclass(frozen=True)
class FileSource:
    """An open file. Reads by pread: a mapped file would count as resident memory, and kill us if it shrinks."""

    descriptor: int
    size: int

    def read(self, start: int, length: int) -> bytes:
        block = os.pread(self.descriptor, length, start)
        while len(block) < length:  # Linux reads at most 2 GB at once
            more = os.pread(self.descriptor, length - len(block), start + len(block))
            if not more:
                raise WireError(f"the file ends at byte {start + len(block)}, inside a field")
            block += more
        return block


@dataclass(frozen=True)
class BytesSource:
    """Bytes in memory."""

    data: bytes

    @property
    def size(self) -> int:
        return len(self.data)

    def read(self, start: int, length: int) -> bytes:
        return self.data[start : start + length]


class Field(NamedTuple):
    """One field of a message: `start` is its tag's first byte, `payload` its content's, `end` the next field's."""

    number: int
    wire_type: int
    start: int
    payload: int
    end: int

    @property
    def length(self) -> int:
        return self.end - self.payload


def fields(source: Source, start: int, end: int) -> Iterator[Field]:
    """The fields of the message at [start, end). WireError where the bytes are not a message or reach beyond `end`."""
    base, window = start, b""
    position = start
    while position < end:
        offset = position - base
        if offset + _HEADER > len(window) and base + len(window) < end:
            base, offset = position, 0
            window = source.read(base, min(_WINDOW, end - base))
        tag = window[offset]
        offset += 1
        if tag > 127:
            tag, offset = _varint(window, offset - 1)
        wire_type = tag & 7
        if wire_type == LEN:
            length, offset = _varint(window, offset)
            payload = base + offset
            stop = payload + length
        elif wire_type == VARINT:
            payload = base + offset
            stop = base + _varint(window, offset)[1]
        elif wire_type in (I64, I32):
            payload = base + offset
            stop = payload + (8 if wire_type == I64 else 4)
        else:
            raise WireError(f"byte {position} starts a field of wire type {wire_type}, which ONNX does not use")
        if tag < 8:
            raise WireError(f"byte {position} starts a field without a number")
        if stop > end:
            raise WireError(f"the field at byte {position} ends at byte {stop}, beyond its message's end at {end}")
        yield Field(tag >> 3, wire_type, position, payload, stop)
        position = stop


def _varint(window: bytes, offset: int) -> tuple[int, int]:
    result = shift = 0
    while True:
        if offset >= len(window):
            raise WireError("the file ends inside a number")
        byte = window[offset]
        offset += 1
        result |= (byte & 127) << shift
        if byte < 128:
            return result, offset
        shift += 7
        if shift > 63:
            raise WireError("a number has more than 64 bits")


def varint(number: int) -> bytes:
    """`number` (not negative) as a varint."""
    encoded = bytearray()
    while number > 127:
        encoded.append(number & 127 | 128)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def tag(number: int, wire_type: int = LEN) -> bytes:
    """The tag of a field."""
    return varint(number << 3 | wire_type)


def delimited(number: int, payload: bytes) -> bytes:
    """A length-delimited field."""
    return tag(number) + varint(len(payload)) + payload
