"""The rows of the table that an integer input indexes, found from the graph."""

from __future__ import annotations

from collections import deque

import onnx_ir as ir

from autocast_core.data.inputs import input_specs
from autocast_core.operators.families import MOVES_ELEMENTS, is_in

_PASSED_THROUGH = MOVES_ELEMENTS | {"Cast"}
_DATA_POSITION = 0
_INDEX_POSITION = 1
# com.microsoft::EmbedLayerNormalization: input_ids, segment_ids, word, position, segment tables (ContribOperators.md).
_EMBED_TABLES = {0: 2, 1: 4}


def table_sizes(model: ir.Model) -> dict[str, int]:
    """Rows by input name, for every integer input that indexes a table of known height; the smallest of several.

    Followed are Gather and GatherElements (ai.onnx), EmbedLayerNormalization (com.microsoft), through operators that
    only move or convert the indices, and in the bodies of control flow that capture the input.
    """
    integers = {spec.name for spec in input_specs(model) if spec.dtype.is_integer()}
    found = {value.name: _rows(value) for value in model.graph.inputs if value.name in integers}
    return {str(name): rows for name, rows in found.items() if rows}


def _rows(value: ir.Value) -> int | None:
    seen, queue, heights = {value}, deque([value]), []
    while queue:
        for node, position in queue.popleft().uses():
            height = _height(node, position)
            if height is not None:
                heights.append(height)
            elif is_in(node, _PASSED_THROUGH) and position == _DATA_POSITION:
                new = [output for output in node.outputs if output not in seen]
                seen.update(new)
                queue.extend(new)
    return min(heights, default=None)


def _height(node: ir.Node, position: int) -> int | None:
    if node.op_type in ("Gather", "GatherElements") and position == _INDEX_POSITION:
        axis = node.attributes["axis"].as_int() if "axis" in node.attributes else 0
        return _length(node.inputs[_DATA_POSITION], axis)
    if node.op_type == "EmbedLayerNormalization" and position in _EMBED_TABLES:
        return _length(node.inputs[_EMBED_TABLES[position]], 0)
    return None


def _length(table: ir.Value | None, axis: int) -> int | None:
    if table is None or table.shape is None or not -len(table.shape) <= axis < len(table.shape):
        return None
    length = table.shape[axis]
    return length if isinstance(length, int) else None
