"""Runs every check over a model."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from autocast_core.attention import fusion_obstacles
from autocast_core.config import ConversionConfig
from autocast_core.graph.walk import note_flat
from autocast_core.lint.checks import CHECKS
from autocast_core.lint.checks.reference import compares_nothing
from autocast_core.lint.finding import Level, LintFinding, finding
from autocast_core.lint.subject import Subject, float_type, type_word
from autocast_core.operators import infer_missing_types
from autocast_core.process.notebook_hook import notebook_html
from autocast_core.sanitize.functions import inline_functions
from autocast_core.sanitize.names import give_unique_names

LOG = logging.getLogger(__name__)
MOST_FINDINGS = 1000
"""Of one check; a model that has more is wrong as a whole."""


@dataclass(frozen=True)
class Inspection:
    """What was found, errors first, then in the order of codes and of the graph.

    `attention_cores` counts the cores, `attention_whole` those that nothing is known to keep from being one kernel,
    `types` the nodes that compute, by type.
    """

    findings: tuple[LintFinding, ...]
    attention_cores: int
    attention_whole: int
    types: Mapping[str, int]

    def at_least(self, level: Level) -> tuple[LintFinding, ...]:
        """The findings of that level and above."""
        return tuple(found for found in self.findings if found.level >= level)

    def _repr_html_(self) -> str:
        return notebook_html(self)


def inspect_model(model: ir.Model, reference: ir.Model | None = None) -> Inspection:
    """Everything that the checks find in `model`, compared with the FP32 `reference` where that is given.

    As at the start of a conversion, local functions are inlined into `model`, its nodes get names of their own, and
    types that it does not declare are inferred; else nothing is changed. A reference with none of the model's weights
    is a warning in the log. ModelError where weights cannot be read, and as `inline_functions` raises.
    """
    note_flat(model)
    for prepare in (inline_functions, give_unique_names):
        prepare(model, ConversionConfig())
    infer_missing_types(model)
    subject = Subject(model, reference)
    if compares_nothing(subject):
        LOG.warning(
            "no 16-bit constant of the model has an FP32 one of its name and shape in the reference: nothing is"
            " compared with it; give the FP32 model that this one was made from"
        )
    found = sorted(_found(subject), key=lambda each: (-each.level, each.code))
    whole = sum(not fusion_obstacles(core) for core in subject.cores)
    return Inspection(tuple(found), len(subject.cores), whole, _types(subject))


def _found(subject: Subject) -> Iterator[LintFinding]:
    for check in CHECKS:
        if check.needs_reference and subject.reference is None:
            continue
        for number, spot in enumerate(check.find(subject), 1):
            yield finding(check, spot)
            if number == MOST_FINDINGS:
                break


def _types(subject: Subject) -> Mapping[str, int]:
    counts: dict[str, int] = {}
    for node in subject.ids:
        dtype = float_type(node)
        if dtype is not None and node.op_type not in ("Cast", "CastLike", "Constant"):
            word = type_word(dtype).lower()
            counts[word] = counts.get(word, 0) + 1
    return dict(sorted(counts.items()))
