"""The description on the pages of a run and of a version."""

from __future__ import annotations

from autocast_core.report.content import FileFacts
from autocast_core.report.description import LINES, description
from tests.autocast_core.report.conftest import MakeReport

LINKS = "[Report](#/report)"


def lines_of(text: str) -> list[str]:
    return [line for line in text.splitlines() if line]


def test_the_decision_comes_first_in_plain_words(make_report: MakeReport, gate) -> None:
    report = make_report(gates=(gate("rel_l2<=1", 0.5, True),), run_id="0")
    first, *others = lines_of(description(report, LINKS, "model.onnx"))
    assert first.startswith("Passes its gate. Converted ")
    assert others[0] == "- Gates: rel\\_l2&#60;=1 (measured 0.5)"
    assert any(line.startswith("- To approve: set the tag autocast.approve to champion") for line in others)
    assert others[-1] == f"- {LINKS} · Source: model.onnx"


def test_it_has_at_most_ten_lines_whatever_there_is_to_say(make_report: MakeReport, gate) -> None:
    gates = tuple(gate(f"out{number}.rel_l2<=1", 0.5, True) for number in range(30))
    measured = {"task/top1": 0.5, "task/top1_fp32": 0.75, "engine/estimated_ms/l4": 1.5}
    measured |= {"tensorrt/latency_ms/fp32": 2.0, "tensorrt/latency_ms/mixed": 1.0}
    report = make_report(gates=gates, run_id="0", metrics=measured, source=FileFacts("s" * 4000, "0", 10))
    text = description(report, LINKS, "source")
    assert len(lines_of(text)) <= LINES and len(text) < 5000
    assert ", and 26 more" in text


def test_what_fails_says_so_and_not_how_to_approve(make_report: MakeReport, gate) -> None:
    text = description(make_report(gates=(gate("rel_l2<=1", 2.0, False),), run_id="0"), LINKS, "source")
    assert text.startswith("Fails 1 of 1 gate.") and "To approve" not in text


def test_names_are_no_markup(make_report: MakeReport, gate) -> None:
    text = description(make_report(gates=(gate("<b>x</b>[a](b)<=1", 2.0, False),)), LINKS, "source")
    assert "<b>" not in text and "[a](b)" not in text
