"""The repairs of the converter that fix a culprit without keeping its nodes in FP32."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import onnx_ir as ir

from autocast_core.config import ConversionConfig
from autocast_core.diagnose.culprits.clamped_masks import mask_numbers
from autocast_core.diagnose.error_shares import MeasuredErrors
from autocast_core.diagnose.matching.segments import MatchedSegment
from autocast_core.diagnose.result import Culprit, Kind, Remedy
from autocast_core.graph.walk import main_graph_id
from autocast_core.operators.families import is_in
from autocast_core.sanitize.change import Change
from autocast_core.sanitize.range_repairs import MASKED_ROWS, find_range_repairs
from autocast_core.sanitize.range_repairs.attention_scale import STEP as ATTENTION_SCALE
from autocast_core.sanitize.range_repairs.degrees import SUMS
from autocast_core.sanitize.range_repairs.residual_scale import STEP as RESIDUAL_SCALE

_CLAMP_MASKS = "clamp_masks"
_MOST_LOOKED_AT = 64
"""Nodes behind which the edges of a stream are looked for: a sum's operands are scaled a few nodes before it."""


def with_repairs(
    culprits: Sequence[Culprit], segments: Sequence[MatchedSegment], measured: MeasuredErrors, reference: ir.Model
) -> tuple[Culprit, ...]:
    """`culprits` with the repairs that apply to them: of masks, and where one overflows, those of range that the
    converter finds in the graph of `reference` for the magnitudes that were measured."""
    if not any(each.kind is Kind.OVERFLOW and not _is_mask(each) for each in culprits):
        return tuple(_with_repair(each, (), reference) for each in culprits)
    known = [each for each in segments if each.value in measured.distances]
    largest = {each.reference: measured.distances[each.value].reference_max for each in known}
    changes = find_range_repairs(reference, largest.get, ConversionConfig().data_max)
    return tuple(_with_repair(each, changes, reference) for each in culprits)


def _with_repair(culprit: Culprit, changes: Sequence[Change], reference: ir.Model) -> Culprit:
    if culprit.kind is Kind.MASK:
        options = {"repair_ranges": True, "clamp_masks": True}
        return _fixed(culprit, MASKED_ROWS, options, "where the graph makes the mask")
    if culprit.kind is not Kind.OVERFLOW:
        return culprit
    if _is_mask(culprit):
        return _fixed(culprit, _CLAMP_MASKS, {"clamp_masks": True}, "the mask stays finite")
    nodes = [node for node in reference.graph if main_graph_id(node) in culprit.reference_nodes]
    for change in changes:
        names = set(change.nodes)
        scores = change.step == ATTENTION_SCALE and any(str(node.name) in names for node in nodes)
        if scores or (change.step == RESIDUAL_SCALE and _is_of_stream(nodes, names)):
            return _fixed(culprit, change.step, {"repair_ranges": True}, change.detail)
    return culprit


def _is_mask(culprit: Culprit) -> bool:
    recorded = culprit.recorded
    return recorded is not None and mask_numbers(recorded.expected, recorded.found) is not None


def _is_of_stream(nodes: Sequence[ir.Node], edges: set[str]) -> bool:
    """Whether one of `nodes` adds up, and what it adds up, through other sums, is scaled by a repair at `edges`."""
    waiting, seen = [node for node in nodes if is_in(node, SUMS)], set(nodes)
    while waiting:
        node = waiting.pop()
        if str(node.name) in edges:
            return True
        makers = {value.producer() for value in node.inputs if value is not None} - seen
        waiting += [maker for maker in makers if maker is not None]
        seen.update(waiting)
        if len(seen) > _MOST_LOOKED_AT:
            break
    return False


def _fixed(culprit: Culprit, repair: str, options: dict[str, bool], detail: str) -> Culprit:
    said = ", ".join(f"{name}: true" for name in options)
    text = (
        f"convert the reference again with {said}, which makes the repair {repair} ({detail}); or {culprit.remedy.text}"
    )
    remedy = Remedy(text, options, repair, culprit.remedy.fp32_nodes)
    return replace(culprit, remedy=remedy)
