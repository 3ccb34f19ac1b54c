import math

from autocast_core.config import ConversionConfig
from autocast_core.decide.rules.numeric.reduction_depth import REDUCTION_DEPTH, ReductionDepthRule


def test_it_keeps_only_what_is_known_to_be_deeper(model, facts):
    node = model("g (float[2,9] x) => (float[2] y) { y = Softmax(x) }").graph[0]
    assert ReductionDepthRule(9).check(facts(node=node)) is None
    match = ReductionDepthRule(8).check(facts(node=node))
    assert match.reason == "each output element sums 9 values, over max_depth_of_reduction 8"
    assert match.evidence[0].limit == 8 and math.isfinite(match.evidence[0].limit)
    unknown = model("g (float[2,K] x) => (float[2,K] y) { y = Softmax(x) }").graph[0]
    assert ReductionDepthRule(1).check(facts(node=unknown)) is None


def test_it_runs_only_where_a_depth_is_given(model):
    loaded = model("g (float[2] x) => (float[2] y) { y = Neg(x) }")
    assert REDUCTION_DEPTH.build(loaded, ConversionConfig()) is None
    assert REDUCTION_DEPTH.build(loaded, ConversionConfig(max_depth_of_reduction=3)) is not None
