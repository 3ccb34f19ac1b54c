from dataclasses import replace

from autocast_core.config import Precision
from autocast_core.report.pages.comparison_page import Side, compare_runs, comparison_page


def side(report, run_id="a", metrics=None, **settings):
    return Side(run_id, "digits-fp16", settings, metrics or {}, report.plan)


def test_a_node_that_was_lowered_is_listed_with_both_reasons(make_report):
    before = side(make_report())
    after = replace(before, plan=before.plan.with_precisions({"graph/a": Precision.FP16}, "include", "you said so"))
    difference = compare_runs(before, after)
    (node,) = difference.nodes
    assert (node.id, node.before, node.after) == ("graph/a", "fp32", "fp16")
    assert node.before_reason == "io_range: tensor 'a out' reaches 1000, over data_max 512"
    assert node.after_reason == "include: you said so"
    assert "1 node is decided differently; the second lowers 1 and keeps 0 in FP32" in difference.sentence()


def test_nodes_that_one_graph_lacks_are_not_said_to_be_decided_differently(make_report):
    before, after = side(make_report(names=["a", "b", "c"])), side(make_report(names=["a", "x"]), "b")
    said = compare_runs(before, after).sentence()
    assert said.startswith("Plans for ") and "0 nodes are decided differently" in said
    assert said.endswith("; 3 nodes are in one of them alone.")


def test_only_metrics_and_settings_that_differ_are_listed(make_report):
    report = make_report()
    before = side(report, metrics={"same": 1.0, "gone": 2.0, "worse": 0.1}, data_max="512.0", seed="0")
    after = side(report, "b", {"same": 1.0 + 1e-15, "worse": 0.3, "new": 5.0}, data_max="1000.0", seed="0")
    difference = compare_runs(before, after)
    assert [(each.name, each.before, each.after) for each in difference.settings] == [("data_max", "512.0", "1000.0")]
    assert [(each.name, each.change) for each in difference.metrics] == [
        ("gone", None),
        ("new", None),
        ("worse", 0.3 - 0.1),
    ]


def test_the_page_shows_both_runs_and_escapes_their_names(make_report):
    hostile = "<script>alert(1)</script>\x1b"
    before = side(make_report(names=[hostile]), metrics={"fidelity/rel_l2": 0.1}, name=hostile)
    after = side(make_report(names=["b"]), "b", {"fidelity/rel_l2": 0.2})
    text = comparison_page(compare_runs(before, after))
    assert "<script" not in text and "\x1b" not in text
    assert "+100.0%" in text and "not in this plan" in text


def test_a_long_list_of_nodes_is_cut_in_the_page(make_report):
    before, after = side(make_report(names=[f"n{i}" for i in range(3000)])), side(make_report(names=["x"]), "b")
    text = comparison_page(compare_runs(before, after))
    assert "… and 1001 more" in text
    assert len(text) < 1_500_000
