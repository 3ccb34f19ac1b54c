"""What the target engine is known to refuse."""

from __future__ import annotations

from collections.abc import Iterator

from autocast_core.lint.finding import Check, Level, Spot
from autocast_core.lint.subject import Subject, float_type
from autocast_core.number_formats import precision_of
from autocast_core.targets.refusals import target_named

TENSORRT = "tensorrt"


def _refused(subject: Subject) -> Iterator[Spot]:
    target = target_named(TENSORRT)
    known = {(each.op, each.precision): each for each in target.refusals}
    opset = subject.model.opset_imports.get("", 1)
    for node, node_id in subject.ids.items():
        dtype = float_type(node) if node.domain == "" else None
        precision = precision_of(dtype) if dtype is not None else None
        refusal = known.get((node.op_type, precision)) if precision is not None else None
        if (
            refusal is not None
            and precision is not None
            and (refusal.below_opset is None or opset < refusal.below_opset)
        ):
            detail = f"{node.op_type} in {precision.upper()}: {refusal.message} ({target.measured_on})"
            yield Spot(node_id, detail)


def _opset(subject: Subject) -> Iterator[Spot]:
    warning = target_named(TENSORRT).opset_warning(subject.model)
    if warning is not None:
        yield Spot("model", warning)


def _unread(subject: Subject) -> Iterator[Spot]:
    target = target_named(TENSORRT)
    for node, node_id in subject.ids.items():
        if not target.reads(node):
            domain = f"{node.domain}." if node.domain else ""
            yield Spot(node_id, f"{domain}{node.op_type}: TensorRT's parser does not know it ({target.measured_on})")


TARGET = (
    Check(
        "AC701",
        "Operator that TensorRT refuses",
        Level.ERROR,
        "no engine is built",
        "`autocast run FP32.onnx --calibration DATA --target tensorrt` gives it another type",
        _refused,
    ),
    Check(
        "AC702",
        "Opset that TensorRT does not read",
        Level.WARNING,
        "the parser may refuse the model",
        "export it with an opset from 9 to 25, or convert it with `--opset 23`",
        _opset,
    ),
    Check(
        "AC703",
        "Operator that TensorRT does not read",
        Level.ERROR,
        "no engine is built, unless a plugin brings the operator",
        "export the model without ONNX Runtime's optimisations, or write the operator in others of ONNX",
        _unread,
    ),
)
