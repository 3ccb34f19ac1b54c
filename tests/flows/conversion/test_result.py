"""A conversion's result as the line that a flow run's log ends with."""

from __future__ import annotations

from dataclasses import replace

from autocast_core.evaluate import GateResult
from flows.conversion.result import ConversionResult

RESULT = ConversionResult(
    "a", "0", "Converted 3/4 nodes (75.00%) to fp16", {}, gates=(GateResult("rel_l2<=1", 0.1, True),)
)


def test_the_line_says_what_was_converted_how_it_was_judged_and_where_it_is() -> None:
    made = replace(RESULT, registered="models:/m-fp16/2", output="s3://b/k")
    assert str(made) == (
        "Converted 3/4 nodes (75.00%) to fp16; passes its gates; version models:/m-fp16/2; output s3://b/k"
    )


def test_a_missed_gate_is_named() -> None:
    missed = replace(RESULT, gates=(*RESULT.gates, GateResult("sqnr_db>=40", 12.0, False)))
    assert str(missed).endswith("; misses sqnr_db>=40")


def test_a_reused_result_names_the_run_that_made_it() -> None:
    assert "made by the earlier run abc" in str(replace(RESULT, reused=True, run_id="abc"))


def test_a_dry_run_is_its_summary_alone() -> None:
    assert str(replace(RESULT, gates=())) == RESULT.summary
