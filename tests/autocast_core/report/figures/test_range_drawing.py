from autocast_core.calibrate.statistics import Statistics, TensorStats
from autocast_core.report.figures.range_drawing import WIDTH, range_drawing


def test_a_dot_is_the_largest_magnitude_whatever_its_sign(make_report):
    stats = {"a out": TensorStats(1, -4.0, 1.0), "b out": TensorStats(1, 0.0, 2.0)}
    drawn = range_drawing(make_report(names=("a", "b"), statistics=Statistics(stats)))
    assert drawn.kept_dots == "M225.0 -26.00h0"
    assert drawn.low_dots == "M675.0 -25.00h0"


def test_a_line_goes_down_to_the_root_mean_square(make_report):
    stats = {"b out": TensorStats(4, 0.0, 2.0, nonzero=4, subnormal=0, underflow=0, sum_squares=1.0, examined=4)}
    drawn = range_drawing(make_report(names=("a", "b"), statistics=Statistics(stats)))
    assert drawn.low_lines == "M450.0 -25.00V-23.00"
    assert drawn.kept_lines == ""


def test_the_largest_are_listed_with_their_numbers(make_report):
    drawn = range_drawing(make_report(names=[f"n{i}" for i in range(12)]))
    assert [each.tensor for each in drawn.largest[:2]] == ["n0 out", "n10 out"]
    assert (drawn.largest[0].min, drawn.largest[0].max, drawn.largest[0].kept) == (-2.0, 1000.0, True)
    assert len(drawn.largest) == 8


def test_500_tensors_have_a_dot_each_and_10000_share_some(make_report):
    assert range_drawing(make_report(names=[f"n{i}" for i in range(500)])).per_column == 1
    many = range_drawing(make_report(names=[f"n{i}" for i in range(10_000)]))
    assert (many.count, many.per_column) == (10_000, -(-10_000 // WIDTH))


def test_without_measurements_there_is_no_drawing(make_report):
    assert range_drawing(make_report(statistics=Statistics())) is None
