"""Damage to ONNX files that knows their structure: fields, not bytes, are changed, so that it gets past the parser.

A program is a list of (place, kind, value): which field, what becomes of it, with which of the values that are known to
hurt. Every number means something in every file, so that hypothesis can make programs and shorten them.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass

import onnx

VARINT, FIXED64, BYTES, GROUP, GROUP_END, FIXED32 = range(6)
NUMBERS = (0, 1, 2, 7, 10, 11, 16, 17, 22, 99, 1000, 1 << 20, (1 << 31) - 1, 1 << 31, 1 << 32, 1 << 40, (1 << 62) - 1)
NUMBERS += ((1 << 63) - 1, 1 << 63, (1 << 64) - 1, (1 << 64) - 2, (1 << 64) - (1 << 31))
TEXTS = (b"", b"x", b"y", b"w", b"z", b"\0", b"\x1b[31m\n", b"\xed\xa0\x80", b"\xff\xfe", b"../w", b"/dev/zero", b"..")
TEXTS += (b"Relu", b"If", b"Loop", b"Scan", b"Constant", b"Cast", b"Reshape", b"Resize", b"SequenceEmpty", b"LSTM")
TEXTS += (b"ai.onnx", b"ai.onnx.ml", b"com.microsoft", b"pkg.onnxscript", b"graph/x:then_branch/y", b"a" * 5000)
TEXTS += ("\u202eabc\u2028".encode(), b"location", b"offset", b"length", b"-1", b"9" * 40, b"nan", bytes(16))
LARGEST = 1 << 18
SCHEMA = onnx.ModelProto.DESCRIPTOR


@dataclass
class Field:
    """One field of a message; `value` is a number, bytes, or fields where it is a message. `length` lies where set."""

    number: int
    wire: int
    value: int | bytes | list[Field]
    length: int | None = None


def damaged(model: bytes, program: list[tuple[int, int, int]]) -> bytes:
    """The model after every step of the program."""
    fields = parsed(model, SCHEMA)
    for place, kind, value in program:
        spots = list(_spots(fields))
        if not spots:
            break
        owner, index = spots[place % len(spots)]
        STEPS[kind % len(STEPS)](owner, index, value, spots)
        if len(encoded(fields)) > LARGEST:
            break
    return encoded(fields)


def parsed(data: bytes, schema) -> list[Field]:
    """The fields of a message that is whole."""
    fields, at = [], 0
    while at < len(data):
        key, at = _number(data, at)
        number, wire = key >> 3, key & 7
        if wire == VARINT:
            value, at = _number(data, at)
        elif wire == BYTES:
            length, at = _number(data, at)
            value, at = data[at : at + length], at + length
            field = schema.fields_by_number.get(number) if schema else None
            if field is not None and field.message_type is not None:
                value = parsed(value, field.message_type)
        else:
            size = 8 if wire == FIXED64 else 4
            value, at = data[at : at + size], at + size
        fields.append(Field(number, wire, value))
    return fields


def encoded(fields: list[Field]) -> bytes:
    """The fields as a file has them."""
    out = bytearray()
    for field in fields:
        out += varint(field.number << 3 | field.wire)
        if isinstance(field.value, int):
            out += varint(field.value)
            continue
        content = encoded(field.value) if isinstance(field.value, list) else field.value
        if field.wire == BYTES:
            out += varint(len(content) if field.length is None else field.length)
        out += content
    return bytes(out)


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def _number(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = data[at]
        number, at, shift = number | (byte & 127) << shift, at + 1, shift + 7
        if byte < 128:
            return number, at


def _spots(fields: list[Field]):
    """Every field, as the list that holds it and its index."""
    for index, field in enumerate(fields):
        yield fields, index
        if isinstance(field.value, list):
            yield from _spots(field.value)


def _set(owner, index, value, spots):
    """A number or text that hurts; of a message, its first field that has one."""
    field = owner[index]
    while isinstance(field.value, list) and field.value:
        field = field.value[value % len(field.value)]
    if isinstance(field.value, int):
        field.value = NUMBERS[value % len(NUMBERS)]
    elif field.wire == BYTES:
        field.value = TEXTS[value % len(TEXTS)]
    else:
        field.value = (b"\xff" * 8, b"\0" * 8, b"\0\0\xc0\x7f\0\0\xc0\x7f")[value % 3][: len(field.value)]


def _repeat(owner, index, value, spots):
    owner[index:index] = [owner[index]] * (1 + value % 40)


def _remove(owner, index, value, spots):
    del owner[index]


def _lie(owner, index, value, spots):
    """A declared length that is not the true one."""
    if owner[index].wire == BYTES:
        owner[index].length = NUMBERS[value % len(NUMBERS)]


def _renumber(owner, index, value, spots):
    owner[index] = Field(value % 30 + 1, owner[index].wire, owner[index].value)


def _take(owner, index, value, spots):
    """The value of another field of the file: names that clash, edges that make cycles, graphs in graphs."""
    other_owner, other = spots[value % len(spots)]
    taken = deepcopy(other_owner[other])
    owner[index] = Field(owner[index].number, taken.wire, taken.value)


def _nest(owner, index, value, spots):
    """A copy of the message within itself, again and again."""
    field = owner[index]
    if not isinstance(field.value, list):
        return
    inner = field
    for _ in range(1 + value % 120):
        inner = Field(field.number, BYTES, [*field.value[:2], inner])
    owner[index] = inner


def _group(owner, index, value, spots):
    """Nested groups, an obsolete form of protobuf, perhaps not all of them closed."""
    depth, number = 1 + value % 200, owner[index].number
    content = varint(number << 3 | GROUP) * depth + varint(number << 3 | GROUP_END) * (depth + 1 - value % 3)
    owner[index:index] = [Field(number, GROUP, content)]


def _long_varint(owner, index, value, spots):
    """A number of more bytes than a number has."""
    owner[index] = Field(owner[index].number, VARINT, b"\xff" * (5 + value % 12) + b"\x01")


STEPS = (_set, _set, _set, _set, _take, _take, _repeat, _remove, _lie, _renumber, _nest, _group, _long_varint)
