"""What sanitize tells about itself: the changes it made and what the user should know."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import onnx_ir as ir

OPSET = "opset"
"""The pass that raises the opset, which is the step of its change."""


@dataclass(frozen=True)
class Change:
    """One thing that one pass did.

    `step` is the name of the pass, `detail` a line of plain English, `nodes` the names of the nodes it concerns (for a
    fused node: those it replaces; for a mask: those between its constant and the softmax). Repairs that a plan makes
    again have what they need: `operands` are the indices of inputs of `nodes` that are multiplied by 2^`exponent`.
    """

    step: str
    detail: str
    nodes: tuple[str, ...] = ()
    operands: tuple[int, ...] = ()
    exponent: int = 0


def opset_rewrote_nodes(changes: Iterable[Change]) -> bool:
    """Whether raising the opset had nodes rewritten: whoever has a runtime should compare outputs before and after."""
    return any(change.step == OPSET and change.nodes for change in changes)


@dataclass(frozen=True)
class Sanitized:
    """The sanitized copy of a model, the changes in the order they were made, and warnings for the user."""

    model: ir.Model
    changes: tuple[Change, ...]
    warnings: tuple[str, ...]
