"""Every operator case that ONNX ships converts to a valid model that keeps its contract and is accurate."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conformance.exceptions import ENGINES_DISAGREE, MISJUDGED, NO_RIGHT_ANSWER, ONE_CODE
from tests.conformance.judging import DISAGREEMENT, INACCURATE, VARIANTS, is_valid, judge
from tests.conformance.operator_cases import OperatorCase, operator_cases, operator_files
from tests.conformance.outcomes import Outcome


def _operator(file: str) -> str:
    return file.partition(".case.node.")[2]


@pytest.mark.parametrize("file", [pytest.param(file, id=_operator(file)) for file in operator_files()])
def test_every_case_of_the_operator_converts_and_is_accurate(
    file: str, every: int, record_property: Callable[[str, object], None]
):
    defects = []
    for case in operator_cases(file)[::every]:
        for outcome in _outcomes(case):
            record_property("conformance", outcome.judgement)
            if outcome.defect is not None:
                defects.append(f"{case.name} [{outcome.variant}]: {outcome.judgement}: {outcome.defect}")
    assert defects == []


def _outcomes(case: OperatorCase) -> list[Outcome]:
    if not is_valid(case.model) and case.name not in MISJUDGED:
        return [Outcome("", "left out", "the original is not valid: list it with the reason")]
    codes = 1 if case.name in ONE_CODE else 0
    found = [judge(case.model, case.feeds, precision, keep, codes=codes) for precision, keep in VARIANTS]
    return [_excused(case.name, outcome) for outcome in found]


def _excused(name: str, outcome: Outcome) -> Outcome:
    """The outcome without its defect, where the exceptions list it."""
    if name in NO_RIGHT_ANSWER and outcome.judgement == INACCURATE:
        return Outcome(outcome.variant, "valid; no right answer exists")
    if name in ENGINES_DISAGREE and outcome.judgement == DISAGREEMENT:
        return Outcome(outcome.variant, "accurate; the engines disagree, as listed")
    return outcome
