"""What the first screen points at: where the error is, what stays in FP32 and why, ranges, what was not checked."""

import pytest

from autocast_core.calibrate.statistics import Statistics, TensorStats
from autocast_core.report.decision.pointers import Pointer, pointers
from autocast_core.search.attribution import Attribution, NodeError


def _attribution(*shares: float, overflow: int = 0) -> Attribution:
    return Attribution(tuple(NodeError(f"graph/n{i}", "Relu", 0.01, share, overflow) for i, share in enumerate(shares)))


def _texts(report) -> list[str]:
    return [pointer.text for pointer in pointers(report)]


def test_nodes_with_a_tenth_of_the_error_are_named(make_report):
    found = pointers(make_report(attribution=_attribution(0.6, 0.3, 0.05, 0.05)))[0]
    assert found == Pointer("2 nodes make 90% of the error", "sources", ("graph/n0", "graph/n1"))


def test_an_error_of_all_nodes_alike_is_one_line(make_report):
    report = make_report(attribution=_attribution(*[1 / 64] * 64))
    assert _texts(report)[0] == "No node stands out: the largest share of the error is 1.6%; 32 make half of it"


def test_overflows_are_named(make_report):
    report = make_report(attribution=_attribution(0.05, overflow=3))
    assert "Values overflow in 1 node" in _texts(report)


def test_nodes_in_fp32_stand_by_the_rule_that_keeps_them(make_report):
    found = [each for each in pointers(make_report(names=[f"n{i}" for i in range(40)])) if each.section == "nodes"]
    reason = "for example, tensor 'n0 out' reaches 1000, over data_max 512"
    assert found == [Pointer(f"4 nodes in FP32 by io_range: {reason}", "nodes", ("graph/n0", "graph/n10", "graph/n20"))]


def test_the_largest_tensor_beyond_fp16_is_named_with_the_nodes_at_it(make_report):
    stats = {
        "a out": TensorStats(1, 0.0, 1e6),
        "b out": TensorStats(1, -2e6, 0.0),
        "c out": TensorStats(1, 0.0, 65504.0),
    }
    found = next(each for each in pointers(make_report(statistics=Statistics(stats))) if each.section == "ranges")
    assert found.text == "2 tensors beyond FP16's largest value: b out reaches 2,000,000"
    assert found.nodes == ("graph/b", "graph/c")


@pytest.mark.parametrize(("warnings", "text"), [(("w",), "1 warning"), (("w", "v"), "2 warnings")])
def test_warnings_are_counted(make_report, warnings, text):
    assert text in _texts(make_report(warnings=warnings))
