"""Attention cores that an engine does not make one kernel of, and scores that may overflow."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from autocast_core.attention import AttentionCore, Obstacle, fusion_obstacles
from autocast_core.lint.finding import Check, Level, Spot
from autocast_core.lint.subject import Subject

_UNFUSED = "the core is several kernels in place of one, and its scores are written to memory and read again"
_CONVERT = "`autocast run FP32.onnx --calibration DATA`, which lowers attention as a whole"
_FORM = frozenset(
    {"head_size", "value_head_size", "single_matrix", "single_query", "broadcast", "softcap", "transposed"}
)


def _spots(subject: Subject, kinds: frozenset[str]) -> Iterator[tuple[AttentionCore, Obstacle]]:
    for core in subject.cores:
        yield from ((core, each) for each in fusion_obstacles(core) if each.kind in kinds)


def _in_fp32(subject: Subject) -> Iterator[Spot]:
    level = None if subject.is_mixed else Level.NOTE
    for core, obstacle in _spots(subject, frozenset({"all_fp32"})):
        yield Spot(core.softmax, f"{obstacle.detail}: attention in FP32 is never one kernel", level=level)


def _split(subject: Subject) -> Iterator[Spot]:
    for core, obstacle in _spots(subject, frozenset({"fp32_product"})):
        yield Spot(core.softmax, f"{obstacle.detail}, with no Cast between")


def _two_types(subject: Subject) -> Iterator[Spot]:
    yield from (Spot(core.softmax, each.detail) for core, each in _spots(subject, frozenset({"two_low_types"})))


def _form(subject: Subject) -> Iterator[Spot]:
    yield from (Spot(core.softmax, each.detail) for core, each in _spots(subject, _FORM))


def _read_elsewhere(subject: Subject) -> Iterator[Spot]:
    yield from (Spot(core.softmax, each.detail) for core, each in _spots(subject, frozenset({"read_elsewhere"})))


def _scale_behind(subject: Subject) -> Iterator[Spot]:
    for core in subject.cores:
        behind = [scale.node for scale in core.scales if scale.place == "behind"]
        if behind and core.element_types.get(core.product) == ir.DataType.FLOAT16 and not _is_scaled_in_front(core):
            yield Spot(core.product, f"the scale {behind[0]!r} stands behind the product, which is larger by it")


def _is_scaled_in_front(core: AttentionCore) -> bool:
    return any(scale.place != "behind" for scale in core.scales)


ATTENTION = (
    Check("AC101", "Attention in FP32", Level.WARNING, _UNFUSED, _CONVERT, _in_fp32),
    Check(
        "AC102",
        "Attention split by FP32 beside a product",
        Level.WARNING,
        _UNFUSED,
        "cast down directly behind Q·Kᵀ and directly in front of P·V, with the scale on Q; or " + _CONVERT,
        _split,
    ),
    Check(
        "AC103",
        "Attention in two 16-bit types",
        Level.WARNING,
        _UNFUSED,
        "give both products one type: `autocast run FP32.onnx --calibration DATA --precision bf16`",
        _two_types,
    ),
    Check(
        "AC104",
        "Attention of a form that no kernel has",
        Level.NOTE,
        _UNFUSED,
        "export with heads of 9 to 256 (16 to 256 by the documentation), without soft cap or broadcast, P left of V",
        _form,
    ),
    Check(
        "AC105",
        "Attention whose scores are read elsewhere",
        Level.WARNING,
        _UNFUSED,
        "export the model without its attention weights among the outputs (transformers: output_attentions=False)",
        _read_elsewhere,
    ),
    Check(
        "AC106",
        "Scale behind the product of attention",
        Level.NOTE,
        "scores overflow FP16 at 65504 times the scale, where scaled ones would not",
        "`autocast run FP32.onnx --calibration DATA` moves it onto Q where the product is too large (repair_ranges)",
        _scale_behind,
    ),
)
