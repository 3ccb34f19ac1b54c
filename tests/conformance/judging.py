"""Judges one conversion of a small model: does it convert, is it valid, does it keep its contract, is it accurate?

Accurate means: where an engine runs both the FP32 original and the result on the same inputs, every element agrees
within TOLERANCE times the largest magnitude of its output. Where the inputs themselves lose what decides (a
discontinuity, a cancellation), the fair reference is the FP32 original fed with inputs rounded to the low type: no
16-bit model of any converter sees more of them than that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import onnx

from autocast_core.config import ConversionConfig, Precision
from autocast_core.errors import AutocastError
from autocast_core.plan import PrecisionPlan
from tests.conformance.conversion import calibration_of, convert
from tests.conformance.evaluation import ENGINES, close, rounded, run
from tests.conformance.outcomes import Outcome

TOLERANCE = {Precision.FP16: 2.0**-8, Precision.BF16: 2.0**-5}
"""Eight units of rounding (2**-11 and 2**-8): the cases have chains of some ten operators at most."""

VARIANTS = tuple((precision, keep) for precision in TOLERANCE for keep in (True, False))
INACCURATE = "inaccurate"
DISAGREEMENT = "accurate in some engines only"
TYPES = {Precision.FP16: onnx.TensorProto.FLOAT16, Precision.BF16: onnx.TensorProto.BFLOAT16}


def judge(
    model: onnx.ModelProto,
    feeds: Mapping[str, Any],
    precision: Precision,
    keep: bool,
    *,
    codes: int = 0,
    engines: Sequence[str] = ENGINES,
) -> Outcome:
    """The outcome of converting `model`, calibrated on `feeds` and evaluated on them.

    Integer outputs may differ by `codes`; `engines` are asked in their order.
    """
    variant = f"{precision}, {'kept' if keep else 'low'} I/O"
    config = ConversionConfig(precision=precision, keep_io_types=keep)
    try:
        converted, plan = convert(model, config, calibration_of(feeds))
    except AutocastError as error:
        return Outcome(variant, "not converted", f"{type(error).__name__}: {error}")
    try:
        onnx.checker.check_model(converted, full_check=True)
    except Exception as error:  # the checker and shape inference raise unrelated types
        return Outcome(variant, "invalid", str(error))
    broken = next(broken_contract(model, converted, precision, keep, plan), None)
    if broken is not None:
        return Outcome(variant, "contract broken", broken)
    return _accuracy(variant, model, converted, feeds, precision, codes, engines)


def is_valid(model: onnx.ModelProto) -> bool:
    """Whether the checker with full type inference takes the model."""
    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception:  # see above
        return False
    return True


def broken_contract(
    before: onnx.ModelProto, after: onnx.ModelProto, precision: Precision, keep: bool, plan: PrecisionPlan
) -> Iterator[str]:
    """A sentence for each input or output that changed its place, or its type other than it may."""
    for kind in ("input", "output"):
        old, new = getattr(before.graph, kind), getattr(after.graph, kind)
        if [value.name for value in old] != [value.name for value in new]:
            yield f"{kind}s {[value.name for value in old]} became {[value.name for value in new]}"
            continue
        for left, right in zip(old, new, strict=True):
            wanted = left.type
            if not keep and left.name not in plan.io_kept and not plan.settings.keeps_io_type(left.name):
                wanted = _with_low_type(wanted, TYPES[precision])
            allowed = {_element_type(wanted)}
            if not keep and _element_type(wanted) in {*TYPES.values()} - {TYPES[precision]}:
                allowed |= {onnx.TensorProto.FLOAT, TYPES[precision]}  # a source of the other type is read as FP32
            if _element_type(right.type) not in allowed and onnx.TensorProto.DOUBLE not in allowed:
                yield f"{kind} {left.name} has type {right.type}"


def _accuracy(
    variant: str,
    model: onnx.ModelProto,
    converted: onnx.ModelProto,
    feeds: Mapping[str, Any],
    precision: Precision,
    codes: int,
    engines: Sequence[str],
) -> Outcome:
    tolerance, evaluable, disagreeing = TOLERANCE[precision], False, []
    for engine in engines:
        expected = run(engine, model, feeds)
        evaluable = evaluable or expected is not None
        actual = run(engine, converted, feeds) if expected is not None else None
        if actual is None:
            continue
        if close(expected, actual, tolerance, codes):
            return _accurate(variant, f"accurate ({engine})", disagreeing)
        expected = run(engine, model, rounded(feeds, precision.numpy))
        if expected is not None and close(expected, actual, tolerance, codes):
            return _accurate(variant, f"accurate on rounded inputs ({engine})", disagreeing)
        disagreeing.append(engine)
    if disagreeing:
        return Outcome(variant, INACCURATE, f"outputs differ from those of FP32 in {', '.join(disagreeing)}")
    if evaluable:
        return Outcome(variant, "not evaluated", "an engine runs the original, and none that does runs the result")
    return Outcome(variant, "valid; no engine runs the original")


def _accurate(variant: str, judgement: str, disagreeing: Sequence[str]) -> Outcome:
    """Accurate in one engine, where those in `disagreeing` say otherwise."""
    if not disagreeing:
        return Outcome(variant, judgement)
    return Outcome(variant, DISAGREEMENT, f"{judgement}, but not in {', '.join(disagreeing)}")


def _with_low_type(kind: onnx.TypeProto, low: int) -> onnx.TypeProto:
    changed = onnx.TypeProto()
    changed.CopyFrom(kind)
    inner = _innermost(changed)
    if inner is not None and inner.elem_type == onnx.TensorProto.FLOAT:
        inner.elem_type = low
    return changed


def _element_type(kind: onnx.TypeProto) -> int | None:
    inner = _innermost(kind)
    return None if inner is None else inner.elem_type


def _innermost(kind: onnx.TypeProto) -> Any:
    match kind.WhichOneof("value"):
        case "tensor_type":
            return kind.tensor_type
        case "sparse_tensor_type":
            return kind.sparse_tensor_type
        case "sequence_type":
            return _innermost(kind.sequence_type.elem_type)
        case "optional_type":
            return _innermost(kind.optional_type.elem_type)
    return None
