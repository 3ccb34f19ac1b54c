"""Matching by numbers: values of one batch that are the same in both models, where names and structure say nothing."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from autocast_core.diagnose.matching.by_structure import Matching, root
from autocast_core.diagnose.matching.operand_likeness import is_constant, passes_on
from autocast_core.diagnose.sampled_values import Sample, is_measurable

_ALIKE = 0.02
"""The relative L2 difference up to which two tensors are the same one, rounded on the way."""
_CLEARER, _ROUNDING = 2.0, 1e-3
"""Up to how many times the least difference, and FP16's rounding, another value is as near."""
_FEATURES = 4


def unmatched_values(matching: Matching) -> tuple[list[ir.Value], list[ir.Value]]:
    """The float values of candidate and reference that have no counterpart."""
    theirs = [value for value in _computed(matching.candidate) if value not in matching.of]
    taken = set(matching.of.values())
    ours = [value for value in _computed(matching.reference) if root(value) is value and value not in taken]
    return theirs, ours


def match_by_numbers(
    matching: Matching,
    theirs: Mapping[ir.Value, Sample],
    ours: Mapping[ir.Value, Sample],
) -> int:
    """Matches values whose samples are nearly equal, each with its only neighbour; how many.

    Both have the same number of elements, which are not all equal. Where several of the reference's are as near (a
    Relu of positive numbers, say), one made by the same operator is meant, else the last.
    """
    usable = [(value, sample) for value, sample in ours.items() if _says_something(sample)]
    norms = np.array([_norm(sample) for _, sample in usable])
    found, taken = 0, set()
    for value, sample in theirs.items():
        if not _says_something(sample):
            continue
        close = np.flatnonzero(np.abs(norms - _norm(sample)) <= _ALIKE * norms)
        near = [(_difference(usable[i][1], sample), i) for i in close if i not in taken]
        least = min((difference for difference, _ in near), default=np.inf)
        if not least <= _ALIKE:
            continue
        alike = [index for difference, index in near if difference <= _CLEARER * least + _ROUNDING]
        kind = _operator(value)
        index = next((i for i in alike if _operator(usable[i][0]) == kind), alike[-1])
        taken.add(index)
        found += matching.put(value, usable[index][0], "numbers")
    return found


def _computed(model: ir.Model) -> list[ir.Value]:
    return [
        value
        for node in model.graph
        if node.op_type != "Constant" and not passes_on(node)
        for value in node.outputs
        if value.name
        and value.dtype is not None
        and value.dtype.is_floating_point()
        and not is_constant(value)
        and is_measurable(value)
    ]


def _says_something(sample: Sample) -> bool:
    elements = sample.elements
    return bool(elements.size >= _FEATURES and sample.finite and np.ptp(elements) > 0)


def _difference(reference: Sample, candidate: Sample) -> float:
    left, right = reference.elements, candidate.elements
    if left.size != right.size or reference.sampled != candidate.sampled:
        return np.inf
    left, right = left.astype(np.float64), right.astype(np.float64)
    scale = float(np.linalg.norm(left))
    return float(np.linalg.norm(left - right)) / scale if scale else np.inf


def _norm(sample: Sample) -> float:
    return float(np.linalg.norm(sample.elements.astype(np.float64)))


def _operator(value: ir.Value) -> str | None:
    producer = value.producer()
    return None if producer is None else producer.op_type
