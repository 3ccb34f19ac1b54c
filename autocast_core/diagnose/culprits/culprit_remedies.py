"""What fixes a culprit: the converter's options with which the reference converts without it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import onnx_ir as ir

from autocast_core.diagnose.culprits.culprit_kinds import vanished_constant
from autocast_core.diagnose.matching.segments import MatchedSegment
from autocast_core.diagnose.result import Kind, Remedy

_BOTH_TYPES = "or give such nodes BF16 with --precision fp16,bf16"
_TEXTS = {
    Kind.OVERFLOW: f"keep these nodes in FP32, scale what they read, {_BOTH_TYPES}",
    Kind.NAN: "keep these nodes in FP32; where infinity went in, fix what makes it",
    Kind.UNDERFLOW: f"keep these nodes in FP32, {_BOTH_TYPES}",
    Kind.MASK: "keep these nodes in FP32",
    Kind.CANCELLATION: "keep these nodes and those that make their inputs in FP32",
    Kind.ROUNDING: "keep these nodes in FP32",
    Kind.CAST: "remove the Cast, or keep its source and its readers in FP32",
    Kind.DIFFERENCE: "not a matter of precision: convert or export the reference again",
}


def remedy_of(kind: Kind, segment: MatchedSegment) -> Remedy:
    """The remedy for a culprit. Its options keep the reference's nodes in FP32, by name: those that make the tensor,
    its readers where the values themselves do not fit 16 bits, and the makers of its inputs where these lose digits."""
    if kind is Kind.DIFFERENCE:
        return Remedy(_TEXTS[kind])
    nodes = list(segment.reference_nodes)
    if not nodes:
        nodes = _makers((segment.reference,))
    if kind in (Kind.OVERFLOW, Kind.UNDERFLOW, Kind.NAN, Kind.CAST, Kind.MASK):
        nodes += _readers(segment.reference)
    if kind is Kind.CANCELLATION:
        nodes += _makers(segment.fed.values())
    names = list(dict.fromkeys(str(node.name) for node in nodes if node.op_type not in ("Cast", "Constant")))
    options = {"nodes_to_exclude": [f"^{re.escape(name)}$" for name in names]}
    guard = vanished_constant(segment) if kind is Kind.UNDERFLOW else None
    larger = "" if guard is None else f"export with a larger guard, 6e-5 or more in the place of {guard!r}, or "
    return Remedy(f"{larger}{_TEXTS[kind]}: {_shown(names)}", options, fp32_nodes=tuple(names))


def _makers(values: Iterable[ir.Value]) -> list[ir.Node]:
    return [node for value in values if (node := value.producer()) is not None]


def _readers(value: ir.Value) -> list[ir.Node]:
    """Nodes of the main graph that read `value`."""
    return [node for node, _ in value.uses() if node.graph is value.graph]


def _shown(names: Sequence[str]) -> str:
    more = f" and {len(names) - 6} more" if len(names) > 6 else ""
    return ", ".join(names[:6]) + more
