"""The linter finds every defect that is planted, where it is, and nothing else that it should not."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from autocast_core.lint import Level, LintFinding, inspect_model
from autocast_core.lint.checks import CHECKS
from autocast_core.model.reader import load_proto
from tests.autocast_core.lint.planted import HARMLESS, PLANTED


def findings(model: ir.Model, reference: ir.Model | None = None) -> tuple[LintFinding, ...]:
    return inspect_model(model, reference).findings


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_defect_is_found_where_it_is(name):
    planted = PLANTED[name]
    found = findings(load_proto(planted.model()))
    assert [each.node for each in found if each.code == planted.code] == [planted.node]


@pytest.mark.parametrize("name", PLANTED)
def test_nothing_else_is_found_above_notes(name):
    planted = PLANTED[name]
    found = findings(load_proto(planted.model()))
    assert {each.code for each in found if each.level > Level.NOTE} <= {planted.code}


@pytest.mark.parametrize("name", HARMLESS)
def test_what_only_looks_like_a_defect_is_not_reported(name):
    harmless = HARMLESS[name]
    assert harmless.code not in {each.code for each in findings(load_proto(harmless.model()))}


def test_there_are_at_least_forty_and_every_code_that_needs_no_reference_is_planted():
    assert len(PLANTED) >= 40
    assert {planted.code for planted in PLANTED.values()} == {each.code for each in CHECKS if not each.needs_reference}
