"""Two 16-bit types: BF16 where FP16's range alone kept a node, FP32 where precision did or BF16 gains nothing."""

import numpy as np
import pytest

from autocast_core.calibrate import Statistics
from autocast_core.calibrate.statistics import TensorStats
from autocast_core.calibrate.weights import scan_weights
from autocast_core.config import ConversionConfig, Precision
from autocast_core.decide import decide
from autocast_core.decide.reuse import reuse_plan
from autocast_core.errors import UnconvertibleError
from autocast_core.sanitize import sanitize
from tests.autocast_core.decide.conftest import load

BOTH = (Precision.FP16, Precision.BF16)
CHAIN = """g (float[2,3] x) => (float[2,3] y) {
    [small] a = Neg(x) [square] b = Mul(a, a) [sum] c = ReduceMean<keepdims = 1>(b)
    [root] d = Sqrt(c) [out] y = Div(a, d)
}"""
LARGE = {"x": (-1e3, 1e3), "a": (-300, 300), "b": (0, 90000), "c": (0, 90000), "d": (0, 300), "y": (-2, 2)}


def planned(text, ranges, opset=22, precision=BOTH, demanded=None, **options):
    config = ConversionConfig(precision=precision, opset=demanded, **options)
    model = sanitize(load(text, opset), config).model
    tensors = {name: TensorStats(count=10, min=low, max=high) for name, (low, high) in ranges.items()}
    statistics = Statistics(tensors, batches=1, origin="calibration")
    return model, decide(model, statistics, scan_weights(model, config.precision), config)


def types(plan):
    return {each.id.removeprefix("graph/"): each.precision for each in plan.nodes}


def test_nodes_beyond_fp16s_range_are_bf16():
    _, plan = planned(CHAIN, LARGE)
    assert plan.low == BOTH
    assert types(plan) == {"small": "bf16", "square": "bf16", "sum": "bf16", "root": "bf16", "out": "fp16"}
    square = plan.by_id()["graph/square"]
    assert square.rule == "range"
    assert square.reason == "tensor 'b' reaches 90000, over data_max 512; bf16 has the range"
    assert square.evidence[0].absmax == 90000
    assert plan.summary() == "Converted 5/5 nodes (100.00%) to fp16 (1) and bf16 (4)"


def test_with_one_type_they_stay_in_fp32():
    _, plan = planned(CHAIN, LARGE, precision=Precision.FP16)
    assert set(types(plan).values()) == {"fp32", "fp16"}


def test_a_weight_beyond_fp16_is_stored_in_bf16():
    text = "g (float[2,3] x) => (float[2,3] y) <float[3] w = {1e6, 2, 3}> { [m] a = Mul(x, w) [n] y = Neg(a) }"
    _, plan = planned(text, {"x": (0, 1e-4), "a": (0, 100), "y": (-100, 0)})
    assert types(plan) == {"m": "bf16", "n": "fp16"}
    assert plan.weights == ()


@pytest.mark.parametrize(
    ("nodes", "ranges"),
    [
        ("[turn] a = Sin(x) [out] y = Neg(a)", {"x": (0, 1e4), "a": (-1, 1), "y": (-1, 1)}),
        ("[shift] a = Sub(x, k) [out] y = Neg(a)", {"x": (9e5, 1e6), "a": (-400, 400), "y": (-400, 400)}),
        ("[scores] a = Neg(x) [soft] y = Softmax(a)", {"x": (-900, 900), "a": (-900, 900), "y": (0, 1)}),
        ("[floor] a = Floor(x) i = Cast<to = 7>(a) [f] y = Cast<to = 1>(i)", {"x": (0, 900), "a": (0, 900)}),
    ],
)
def test_what_needs_precision_stays_in_fp32(nodes, ranges):
    _, plan = planned(f"g (float[2,3] x) => (float[2,3] y) <float k = {{123456.5}}> {{ {nodes} }}", ranges)
    assert "bf16" not in types(plan).values()
    assert "fp32" in types(plan).values()


def test_not_finite_in_the_reference_stays_in_fp32():
    text = "g (float[2,3] x) => (float[2,3] y) { [a] b = Neg(x) [b] y = Abs(b) }"
    config = ConversionConfig(precision=BOTH)
    model = sanitize(load(text, 22), config).model
    broken = TensorStats(count=10, min=-1.0, max=1.0, nonfinite=2)
    statistics = Statistics({"b": broken}, batches=1, origin="calibration")
    assert set(types(decide(model, statistics, {}, config)).values()) == {"fp32"}


@pytest.mark.parametrize(("headroom", "expected"), [(1.0, "bf16"), (3.0, "bf16"), (4.0, "fp32"), (8.0, "fp32")])
def test_a_tensor_near_the_end_of_bf16s_range_stays_in_fp32_unless_the_headroom_is_there(headroom, expected):
    text = "g (float[2] x) => (float[2] y) { [n] y = Neg(x) }"
    _, plan = planned(text, {"x": (0, 1e38), "y": (-1e38, 0)}, headroom=headroom)
    assert types(plan) == {"n": expected}


def test_a_users_exclusion_is_fp32():
    _, plan = planned(CHAIN, LARGE, nodes_to_exclude=("square",))
    assert types(plan)["square"] == "fp32"


def test_a_lone_node_between_fp16_ones_gains_nothing_in_bf16():
    text = """g (float[2,3] x) => (float[2,3] y) {
        [a] b = Neg(x) [t] c = Transpose<perm = [1, 0]>(b) [d] y = Abs(c) }"""
    text = text.replace("float[2,3] y", "float[3,2] y")
    config = ConversionConfig(precision=BOTH, small_values=True)
    model = sanitize(load(text, 22), config).model
    fine = TensorStats(10, -1.0, 1.0, 0, 10, 0, 0, 5.0, 1e-9, 10)
    small = TensorStats(10, -1e-7, 1e-7, 0, 10, 0, 10, 1e-14, 1e-15, 10)
    for lost, gain in (("b", True), (None, False)):
        tensors = {name: small if name == lost else fine for name in ("x", "b", "c", "y")}
        plan = decide(model, Statistics(tensors, 1, "calibration"), {}, config)
        assert ("bf16" in types(plan).values()) is gain


def test_nodes_that_share_a_sequence_take_one_type():
    text = """g (float[2,3] x, float[2,3] z) => (float[2,3] y) <int64 i = {0}> {
        [pair] s = SequenceConstruct(x, z) [at] a = SequenceAt(s, i) [out] y = Neg(a)
    }"""
    _, plan = planned(text, {"x": (0, 2000), "z": (0, 1), "a": (0, 1), "y": (-1, 0)})
    assert types(plan)["pair"] == types(plan)["at"]


def test_an_opset_that_the_user_demands_and_that_has_no_form_is_refused_with_the_one_that_has():
    expected = (
        r"node graph/small needs the range of bf16, and Neg has no bf16 form at opset 12; .*give --opset 13 or more"
    )
    with pytest.raises(UnconvertibleError, match=expected):
        planned(CHAIN, LARGE, opset=12, demanded=12)


def test_without_a_demanded_opset_a_node_without_a_form_stays_in_fp32_and_says_why():
    text = "g (float[2,3] x) => (float[2,3] y) { [a] b = Celu(x) [b] y = Celu(b) }"
    _, plan = planned(text, {"x": (0, 2000), "b": (0, 2000), "y": (0, 2000)})
    assert types(plan) == {"a": "fp32", "b": "fp32"}


def test_a_re_used_plan_judges_bf16_weights_by_bf16s_range():
    text = "g (float[2,3] x) => (float[2,3] y) <float[3] w = {W, 2, 3}> { [m] a = Mul(x, w) [n] y = Neg(a) }"
    ranges = {"x": (0, 1e-4), "a": (0, 100), "y": (-100, 0)}
    _, plan = planned(text.replace("W", "1e6"), ranges)
    other, _ = planned(text.replace("W", "3e6"), ranges)
    assert types(reuse_plan(other, plan, 65504.0)) == {"m": "bf16", "n": "fp16"}
    _, half = planned(text.replace("W", "1"), ranges)
    assert types(reuse_plan(other, half, 65504.0)) == {"m": "fp32", "n": "fp16"}


def test_random_ranges_never_leave_a_group_in_two_types():
    text = """g (float[2,3] x) => (float[2,3] y) <float s = {0.1}, uint8 z = {0}> {
        [q] a = QuantizeLinear(x, s, z) [d] b = DequantizeLinear(a, s, z) [n] y = Neg(b)
    }"""
    rng = np.random.default_rng(0)
    for _ in range(20):
        ranges = {name: (0.0, float(10 ** rng.uniform(0, 6))) for name in ("x", "b", "y")}
        found = types(planned(text, ranges)[1])
        assert found["q"] == found["d"]
