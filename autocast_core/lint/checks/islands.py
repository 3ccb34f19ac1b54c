"""Nodes in FP32 between casts, in a model of mixed precision."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from autocast_core.graph.constants import constant_tensor
from autocast_core.lint.finding import Check, Level, Spot
from autocast_core.lint.subject import Subject, float_type, is_cast, size_in_bytes, total, type_word
from autocast_core.number_formats import FLOAT_DTYPES, LOW_DTYPES
from autocast_core.operators.families import CARRIES, CONSTANTS, is_in
from autocast_core.text import how_many

_SHOWN = 3
_WIDE = FLOAT_DTYPES - LOW_DTYPES
_MOVES = CARRIES - {"ScatterElements", "ScatterND"}
"""Operators whose results hold numbers of their operands, or zero, and so are exact in 16 bits."""


@dataclass(frozen=True)
class Island:
    """FP32 nodes that hand values to each other, and the casts from and to 16 bits at their border."""

    nodes: tuple[ir.Node, ...]
    entries: tuple[ir.Node, ...]
    exits: tuple[ir.Node, ...]

    @property
    def cast_bytes(self) -> int | None:
        """What the casts at the border read and write in a run."""
        values = (value for cast in (*self.entries, *self.exits) for value in (cast.inputs[0], cast.outputs[0]))
        return total(size_in_bytes(value) for value in values)


def islands(subject: Subject) -> Iterator[Island]:
    """The islands of a model of mixed precision, in the order of their first nodes."""
    if not subject.is_mixed:
        return
    places = {node: place for place, node in enumerate(subject.ids)}
    waiting = {node: None for node in subject.ids if _is_wide(node)}
    while waiting:
        first = next(iter(waiting))
        members: dict[ir.Node, None] = {}
        entries: dict[ir.Node, None] = {}
        exits: dict[ir.Node, None] = {}
        pending = [first]
        while pending:
            node = pending.pop()
            if node in members:
                continue
            members[node] = None
            waiting.pop(node, None)
            pending += _neighbours(node, entries, exits)
        yield Island(tuple(sorted(members, key=places.__getitem__)), tuple(entries), tuple(exits))


def _is_wide(node: ir.Node) -> bool:
    return not is_cast(node) and not is_in(node, CONSTANTS) and float_type(node) in _WIDE


def _neighbours(node: ir.Node, entries: dict[ir.Node, None], exits: dict[ir.Node, None]) -> Iterator[ir.Node]:
    """The FP32 nodes that give or take values of `node`; casts at the border are noted on the way."""
    for value in node.inputs:
        maker = None if value is None or value.dtype not in _WIDE else value.producer()
        if maker is None:
            continue
        if _is_wide(maker):
            yield maker
        elif is_cast(maker) and _is_narrow(maker.inputs[0]):
            entries[maker] = None
    for value in node.outputs:
        for use in value.uses() if value.dtype in _WIDE else ():
            if _is_wide(use.node):
                yield use.node
            elif is_cast(use.node) and use.node.outputs[0].dtype in LOW_DTYPES:
                exits[use.node] = None


def _is_narrow(value: ir.Value | None) -> bool:
    """Whether the value is computed in 16 bits."""
    return value is not None and value.dtype in LOW_DTYPES and constant_tensor(value) is None


def _computing(subject: Subject) -> Iterator[Spot]:
    for island in islands(subject):
        if (island.entries or island.exits) and not _only_moves(island):
            yield Spot(subject.ids[island.nodes[0]], _described(island), island.cast_bytes)


def _moving(subject: Subject) -> Iterator[Spot]:
    for island in islands(subject):
        if island.entries and island.exits and _only_moves(island):
            yield Spot(subject.ids[island.nodes[0]], f"{_described(island)} and only move values", island.cast_bytes)


def _only_moves(island: Island) -> bool:
    """Whether the island hands on what its casts took from 16 bits, and nothing else."""
    makers = frozenset((*island.entries, *island.nodes))
    return all(is_in(node, _MOVES) and _reads_alone(node, makers) for node in island.nodes)


def _reads_alone(node: ir.Node, makers: frozenset[ir.Node]) -> bool:
    """Whether all that the node reads in FP32 is made by `makers`."""
    return all(value.producer() in makers for value in node.inputs if value is not None and value.dtype in _WIDE)


def _described(island: Island) -> str:
    kinds = list(dict.fromkeys(node.op_type for node in island.nodes))
    more = ", …" if len(kinds) > _SHOWN else ""
    casts = how_many(len(island.entries) + len(island.exits), "cast")
    words = "/".join(dict.fromkeys(type_word(float_type(node)) for node in island.nodes))
    return f"{how_many(len(island.nodes), 'node')} in {words} ({', '.join(kinds[:_SHOWN])}{more}) behind {casts}"


ISLANDS = (
    Check(
        "AC301",
        "FP32 island",
        Level.NOTE,
        "its casts move values where an engine does not fuse them into kernels beside it",
        "`autocast tune FP32.onnx --evaluation DATA --budget …` finds the smallest set of FP32 nodes",
        _computing,
    ),
    Check(
        "AC302",
        "FP32 island that computes nothing",
        Level.WARNING,
        "values are cast up, moved at twice the width, and cast down",
        "move them in 16 bits: remove the casts; or `autocast run FP32.onnx --calibration DATA`",
        _moving,
    ),
)
