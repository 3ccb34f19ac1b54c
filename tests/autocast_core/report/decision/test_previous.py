"""What the report says of the version before: figures, gates, nodes that changed sides."""

from dataclasses import replace

from msgspec import structs

from autocast_core.report.content import PreviousVersion
from autocast_core.report.decision.gains import gains
from autocast_core.report.decision.previous import FigureChange, since_previous
from autocast_core.report.pages.report_page import page
from tests.autocast_core.report.conftest import build_report

NAMES = [f"n{at}" for at in range(12)]


def before(names=NAMES, **changes) -> PreviousVersion:
    """The version before: of the same kind of network, half as large again, with the gate that the report has."""
    report = build_report(names)
    fields = {"version": "models:/digits-fp16/3", "plan": report.plan, "gates": {"sqnr_db>=40": 60.0}}
    return PreviousVersion(**{**fields, "metrics": {**report.metrics, "model/bytes_after": 252_000}, **changes})


def since(previous):
    report = replace(build_report(NAMES), previous=previous)
    return since_previous(report, gains(report, None))


def test_without_a_version_before_there_is_nothing_to_say():
    assert since(None) is None
    assert 'id="since"' not in page(build_report(NAMES))


def test_figures_and_gates_stand_beside_those_before():
    assert since(before()).figures == (
        FigureChange("Size", "252.00 kB", "126.00 kB", "−50.0%"),
        FigureChange("Worst output", "66.25 dB SQNR", "66.25 dB SQNR", "="),
        FigureChange("Gate sqnr_db>=40", "60", "66.25", "+10.4%"),
    )


def test_gates_that_came_or_went_are_named():
    lines = {each.name: (each.before, each.now) for each in since(before(gates={"rel_l2<=1": 0.5})).figures}
    assert lines["Gate sqnr_db>=40"] == ("not asked for", "66.25")
    assert lines["Gate rel_l2<=1"] == ("0.5", "no longer asked for")


def test_nodes_that_changed_sides_are_counted_and_named():
    plan = build_report(NAMES).plan
    nodes = list(plan.nodes)
    nodes[0] = structs.replace(nodes[0], precision=nodes[1].precision)
    nodes[3] = structs.replace(nodes[3], precision=plan.nodes[0].precision)
    moved = since(before(plan=structs.replace(plan, nodes=tuple(nodes)))).moved
    assert [(each.direction, each.ids) for each in moved] == [
        ("from FP32 to 16 bits", ("graph/n3",)),
        ("from 16 bits to FP32", ("graph/n0",)),
    ]


def test_a_graph_that_changed_is_said_and_its_nodes_are_told_apart():
    plan = structs.replace(build_report([*NAMES, "old"]).plan, structure_digest="9" * 64)
    found = since(before(plan=plan))
    assert not found.same_graph
    assert [(each.direction, each.ids) for each in found.moved] == [("only in the version before", ("graph/old",))]
    text = page(replace(build_report(NAMES), previous=before(plan=plan)))
    assert "which has another graph" in text and "<code>graph/old</code>" in text
