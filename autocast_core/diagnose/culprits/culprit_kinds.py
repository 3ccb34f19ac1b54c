"""What goes wrong at a culprit: its kind, and a sentence on it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from autocast_core.diagnose.culprits.clamped_masks import mask_numbers
from autocast_core.diagnose.error_shares import MeasuredErrors, unit_rounding
from autocast_core.diagnose.matching.operand_likeness import is_constant, same_attributes, same_weights
from autocast_core.diagnose.matching.segments import MatchedSegment
from autocast_core.diagnose.own_errors import OwnError, ReferenceValues
from autocast_core.diagnose.result import Kind
from autocast_core.graph.constants import small_array
from autocast_core.number_formats import LOW_DTYPES, precision_of
from autocast_core.precision import Precision

_MOST = 0.5
_TINY = Precision.FP16.smallest_normal
_ELSE = 0.02
"""The relative error from which on something else than rounding is at work in a node."""


def differences(segment: MatchedSegment, weights: bool = True) -> list[str]:
    """What the candidate computes there that the reference does not, as phrases; without `weights` none are read."""
    if segment.is_added_cast:
        return []
    found = []
    ours, theirs = segment.reference_nodes, segment.nodes
    left, right = ours[0], theirs[0]
    if left.op_type == right.op_type and len(ours) == len(theirs) == 1:
        if not same_attributes(left, right):
            found.append(f"attributes {_attributes(right)} where the reference has {_attributes(left)}")
        if weights and not same_weights(left, right):
            found.append("other weights than the reference")
    read, expected = set(segment.fed.values()), set(segment.reference_inputs)
    missing = [str(value.name) for value in segment.reference_inputs if value not in read]
    extra = [str(value.name) for value in segment.fed.values() if value not in expected]
    if missing:
        found.append(f"does not read {', '.join(map(repr, missing[:3]))} as the reference does")
    if extra:
        found.append(f"reads {', '.join(map(repr, extra[:3]))}, which the reference does not read there")
    names = [node.op_type for node in ours if node.op_type not in ("Cast", "Identity", "Constant")]
    others = [node.op_type for node in theirs if node.op_type not in ("Cast", "Identity", "Constant")]
    if sorted(names) != sorted(others):
        found.append(f"computed by {', '.join(others[:6]) or 'nothing'} instead of {', '.join(names[:6]) or 'nothing'}")
    return found


def kind_of(segment: MatchedSegment, measured: MeasuredErrors, values: ReferenceValues) -> Kind:
    """The kind of fault at a segment whose own error was measured."""
    own = measured.own.get(segment.value)
    if own is None:
        return Kind.ROUNDING
    amplified = measured.is_amplified(segment)
    sums = own.rounded if amplified else own.exact
    # What is computed from the reference's mask may be infinite where the candidate has a clamped one.
    is_finite = segment.value in measured.distances and not measured.distances[segment.value].nonfinite
    if is_finite and mask_numbers(values.of(segment.reference), own.found) is not None:
        return Kind.MASK
    if sums.new_infinite:
        return Kind.OVERFLOW
    if sums.nonfinite:
        return Kind.NAN
    if vanished_constant(segment) or _is_underflow(segment, own, values):
        return Kind.UNDERFLOW
    if amplified:
        return Kind.CANCELLATION
    if segment.is_added_cast:
        return Kind.CAST
    if sums.rel_l2 > max(_ELSE, 16 * unit_rounding(segment.value.dtype)) and differences(segment):
        return Kind.DIFFERENCE
    return Kind.ROUNDING


def vanished_constant(segment: MatchedSegment) -> str | None:
    """A constant that is 0 in the candidate's segment where the reference's has another, tiny one; by its name."""
    tiny = _constants(segment.reference_nodes)
    zeros = [value for value, number in _constants(segment.nodes) if number == 0.0]
    if zeros and any(0.0 < abs(number) < _TINY for _, number in tiny):
        return str(zeros[0].name)
    return None


def explanation(kind: Kind, segment: MatchedSegment, measured: MeasuredErrors, own: OwnError | None) -> str:
    """What happens there, in one sentence."""
    dtype = segment.value.dtype
    said = "16 bits" if dtype not in LOW_DTYPES else str(precision_of(dtype)).upper()
    sums = None if own is None else own.rounded if measured.is_amplified(segment) else own.exact
    largest = "" if sums is None else f"{sums.reference_max:.4g}"
    notes = "; ".join(differences(segment))
    match kind:
        case Kind.OVERFLOW:
            count = sums.new_infinite if sums else 0
            return f"{count:,} finite values become infinite in {said}; the reference reaches {largest}"
        case Kind.NAN:
            return f"{sums.new_nan if sums else 0:,} values become NaN; the reference reaches {largest}"
        case Kind.UNDERFLOW:
            constant = vanished_constant(segment)
            if constant is not None:
                return f"the constant {constant!r} is 0 in {said}, and a tiny number in the reference"
            return f"values up to {largest} become 0 or subnormal in {said}"
        case Kind.MASK:
            return _mask_explanation(own)
        case Kind.CANCELLATION:
            error = 0.0 if sums is None else sums.rel_l2
            return f"the rounding of its inputs to {said} alone makes a relative error of {error:.2g}"
        case Kind.CAST:
            return f"a Cast to {_type(segment)} that the reference does not have changes the values"
        case Kind.DIFFERENCE:
            return notes
        case _:
            return f"rounding to {said} in it" + (f" ({notes})" if notes else "")


def _mask_explanation(own: OwnError | None) -> str:
    least = float("-inf") if own is None else float(np.min(own.found))
    number = 0.0 if own is None else own.exact.reference_max
    instead = f", but {least:.4g}" if np.isfinite(least) else ""
    return f"the candidate does not have the mask's {-number:.4g}{instead}: rows with every key masked become others"


def _type(segment: MatchedSegment) -> str:
    dtype = segment.value.dtype
    return "another type" if dtype is None else dtype.name.lower()


def _is_underflow(segment: MatchedSegment, own: OwnError, values: ReferenceValues) -> bool:
    """Whether most of the error is at values below the smallest normal one of the candidate's type."""
    dtype = segment.value.dtype
    precision = None if dtype is None else precision_of(dtype)
    if precision is None or dtype not in LOW_DTYPES:
        return False
    expected = values.of(segment.reference).reshape(-1).astype(np.float64)
    found = own.found.reshape(-1).astype(np.float64)
    if expected.size != found.size:
        return False
    with np.errstate(all="ignore"):
        error = np.nan_to_num((expected - found) ** 2)
        least = precision.smallest_normal
        small = (np.abs(expected) < least) & (np.abs(found) < least)
        return bool(error.sum() > 0 and error[small].sum() > _MOST * error.sum())


def _constants(nodes: Sequence[ir.Node]) -> list[tuple[ir.Value, float]]:
    found = []
    for node in nodes:
        for value in node.inputs:
            array = small_array(value) if value is not None and is_constant(value) else None
            if array is not None and array.size == 1 and array.dtype.kind not in "iub":
                found.append((value, float(array.astype(np.float64).reshape(-1)[0])))
    return [(value, number) for value, number in found if value is not None]


def _attributes(node: ir.Node) -> str:
    shown = (f"{name}={attribute.value}" for name, attribute in node.attributes.items() if attribute.value is not None)
    return ", ".join(shown)[:120] or "none"
