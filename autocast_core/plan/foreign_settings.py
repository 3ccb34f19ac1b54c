"""Precisions of layers as other tools are told them: by ``--layerPrecisions`` of trtexec, by ``--layer-precisions`` of
Polygraphy, and by block lists.

- ``NAME:TYPE,NAME:TYPE``, or a line each; Polygraphy writes spaces between them and ``float16``. A name may hold one
  ``*``. An exact name wins over one with ``*``, that over ``*`` alone, which is for all layers that nothing else names;
  of equal ones the last wins.
- A block list keeps nodes in FP32: JSON with ``op_block_list`` and ``node_block_list``, as the functions of
  onnxconverter-common and ONNX Runtime take them, a JSON list, or a text of operator types and node names, one a line
  or between commas.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from autocast_core.errors import ConfigError
from autocast_core.precision import Precision
from autocast_core.text import one_line

_FLAGS = ("--layerPrecisions", "--layer-precisions")
_LONG = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}
_WITHOUT_16_BITS = ("int32", "int8", "int4", "fp8", "fp4", "int64", "bool", "uint8")
_TYPES = ("fp32", "fp16", "bf16")
_BLOCK_LISTS = ("op_block_list", "node_block_list")
_LAYER = re.compile(rf"^(.+):\s*({'|'.join((*_TYPES, *_LONG, *_WITHOUT_16_BITS))})\s*$")
_LIKE_A_LAYER = re.compile(r":\s*(?:fp|bf|tf|int|float|half|double)\w*$", re.IGNORECASE)
_LARGEST = 1 << 24


@dataclass(frozen=True)
class ForeignSettings:
    """`layers` are pairs of a name, with at most one ``*``, and a precision, in their order. `operators` and `names`
    are blocked; names may be operators, too, where the text did not say which (`either`). `ignored` are entries of
    types that this converter does not choose, as they were written.
    """

    layers: tuple[tuple[str, Precision], ...] = ()
    operators: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    either: bool = False
    ignored: tuple[str, ...] = ()


@dataclass(frozen=True)
class NamedNode:
    """A node by its id in plans, every name that other tools may know it by, and its operator type."""

    id: str
    names: tuple[str, ...]
    op_type: str


@dataclass(frozen=True)
class MatchedSettings:
    """What settings say of a model's nodes: the precision of those named, by id, and entries that name none."""

    precisions: Mapping[str, Precision]
    unmatched: tuple[str, ...]

    @property
    def low(self) -> Precision | None:
        """The 16-bit type that is asked for; None where none is. ConfigError where both are."""
        found = sorted({each for each in self.precisions.values() if each.is_low})
        if len(found) > 1:
            raise ConfigError("the settings ask for fp16 and for bf16, and a conversion has one: give one of them")
        return found[0] if found else None


def read_settings(text: str) -> ForeignSettings:
    """The settings in `text`; see the module. ConfigError, naming the entry, where it cannot be read."""
    if len(text) > _LARGEST:
        raise ConfigError(f"the settings have more than {_LARGEST} characters: give layers' precisions or a block list")
    for flag in _FLAGS:
        text = text.strip().removeprefix(flag).removeprefix("=").strip("\"' \n")
    if not text:
        raise ConfigError("the settings are empty: give NAME:TYPE,NAME:TYPE or a block list")
    if text[0] in "[{":
        return _from_json(text)
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    entries = [entry.strip() for line in lines for entry in line.split(",") if entry.strip()]
    words = [word for line in lines for word in line.split()]
    if not any("," in word for word in words) and all(map(_LAYER.match, words)):
        entries = words
    if any(_LAYER.match(entry) for entry in entries):
        return _layers(entries)
    typed = next((entry for entry in entries if _LIKE_A_LAYER.search(entry)), None)
    if typed is not None:
        raise _wrong_entry(typed)
    return ForeignSettings(names=tuple(dict.fromkeys(entries)), either=True)


def match_settings(settings: ForeignSettings, nodes: Iterable[NamedNode]) -> MatchedSettings:
    """What `settings` say of `nodes`."""
    exact, patterns, rest = _by_kind(settings.layers)
    found: dict[str, Precision] = {}
    used: set[str] = set()
    for node in nodes:
        blocked = {each for each in settings.operators if each == node.op_type}
        blocked |= {each for each in settings.names if each in node.names}
        blocked |= {each for each in settings.names if settings.either and each == node.op_type}
        named = next((name for name in node.names if name in exact), None)
        pattern = next((p for p, form in patterns.items() if any(map(form.fullmatch, node.names))), None)
        layer = named or pattern or ("*" if rest is not None else None)
        if blocked:
            used |= blocked
            found[node.id] = Precision.FP32
        elif layer is not None:
            used.add(layer)
            found[node.id] = dict(settings.layers)[layer]
    entries = (*(name for name, _ in settings.layers), *settings.operators, *settings.names)
    return MatchedSettings(found, tuple(each for each in dict.fromkeys(entries) if each not in used))


def _by_kind(
    layers: Iterable[tuple[str, Precision]],
) -> tuple[Mapping[str, Precision], Mapping[str, re.Pattern[str]], Precision | None]:
    """Exact names, names with a ``*`` as patterns, the last first, and what ``*`` alone says."""
    given = dict(layers)
    patterns = [name for name in given if "*" in name and name != "*"]
    return (
        {name: precision for name, precision in given.items() if "*" not in name},
        {name: re.compile(".*".join(map(re.escape, name.split("*"))), re.DOTALL) for name in reversed(patterns)},
        given.get("*"),
    )


def _layers(entries: Iterable[str]) -> ForeignSettings:
    layers: dict[str, Precision] = {}
    ignored = []
    for entry in entries:
        match = _LAYER.match(entry)
        if match is None:
            raise _wrong_entry(entry)
        name, kind = match[1].strip(), match[2]
        if name.count("*") > 1:
            raise ConfigError(f"{entry!r}: a name holds at most one *: give it whole, or with one *")
        if kind in _WITHOUT_16_BITS:
            ignored.append(entry)
            continue
        layers.pop(name, None)  # the last one counts, also for the order of patterns
        layers[name] = Precision(_LONG.get(kind, kind))
    return ForeignSettings(layers=tuple(layers.items()), ignored=tuple(ignored))


def _wrong_entry(entry: str) -> ConfigError:
    return ConfigError(f"{entry!r} is not NAME:TYPE: give a type of fp32, fp16 and bf16 (int8 and others are left out)")


def _from_json(text: str) -> ForeignSettings:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"the block list is not valid JSON: {one_line(error)}") from error
    if isinstance(found, list):
        return ForeignSettings(names=_texts(found, "the list"), either=True)
    unknown = sorted(set(found) - set(_BLOCK_LISTS))
    if unknown or not found:
        shown = f"unknown key {unknown[0]!r}" if unknown else "no key"
        raise ConfigError(f"the block list has {shown}: give op_block_list, node_block_list or both")
    return ForeignSettings(
        operators=_texts(found.get("op_block_list") or [], "op_block_list"),
        names=_texts(found.get("node_block_list") or [], "node_block_list"),
    )


def _texts(values: Any, where: str) -> tuple[str, ...]:
    if not isinstance(values, list) or not all(isinstance(each, str) for each in values):
        raise ConfigError(f"{where} of the block list: give a list of names in quotes")
    return tuple(dict.fromkeys(values))
