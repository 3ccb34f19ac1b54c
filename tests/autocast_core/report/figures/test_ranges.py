import math

from autocast_core.calibrate.statistics import Statistics, TensorStats
from autocast_core.report.figures.ranges import TensorRange, columns, position, tensor_ranges, ticks


def test_the_axis_is_signed_and_logarithmic():
    assert [position(x) for x in (0.0, 2.0**-24, 2.0**-14, 1.0, 65536.0)] == [0, 0, 10, 24, 40]
    assert position(-1.0) == -24
    assert position(math.inf) > position(3e38)
    assert position(math.nan) == 0


def test_tensors_come_in_the_order_of_the_network(make_report):
    report = make_report(names=("z", "m", "a"))
    ranges = tensor_ranges(report.plan, report.statistics, report.network.nodes)
    assert [each.tensor for each in ranges] == ["z out", "m out", "a out"]


def test_what_a_kept_node_reads_or_writes_is_marked(make_report):
    report = make_report(names=("a", "b", "c"))
    wired = tensor_ranges(report.plan, report.statistics, report.network.nodes)
    assert [each.kept for each in wired] == [True, False, False]
    assert [each.kept for each in tensor_ranges(report.plan, report.statistics)] == [True, False, False]


def test_a_tensor_without_any_number_is_left_out(make_report):
    statistics = Statistics({"a out": TensorStats(2, math.inf, -math.inf, nonfinite=2)}, 1, "calibration")
    assert tensor_ranges(make_report().plan, statistics) == ()


def test_neighbours_share_columns_that_span_them():
    ranges = [TensorRange(str(i), -i, i, i == 3) for i in range(10)]
    joined = columns(ranges, 5)
    assert [(each.low, each.high, each.kept) for each in joined] == [
        (-1, 1, False),
        (-3, 3, True),
        (-5, 5, False),
        (-7, 7, False),
        (-9, 9, False),
    ]


def test_the_end_of_bf16_appears_only_where_values_come_near():
    assert "2^128" not in [label for _, label in ticks([TensorRange("t", 0, 41, False)])]
    assert "2^128" in [label for _, label in ticks([TensorRange("t", -100, 1, False)])]
