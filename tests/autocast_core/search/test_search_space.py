"""What a search may choose from, and what it must leave as it is."""

from __future__ import annotations

import onnx
import onnx.parser
import onnx_ir as ir
import pytest

from autocast_core.calibrate import scan_weights
from autocast_core.config import ConversionConfig, Precision
from autocast_core.errors import PlanError
from autocast_core.sanitize import sanitize
from autocast_core.search.search_space import SearchSpace, search_space
from tests.autocast_core.decide.keep_exponentials import KeepExponentials

CHAIN = """g (float[2,3] x) => (float[2,3] y) <float[3] w = {1, 2, 1e6}> {
  [first] a = Mul(x, w) [second] b = Exp(a) [third] y = Neg(b)
}"""
PAIR = """g (float[2] x) => (float[2] y) <float s = {0.5}, int8 z = {0}> {
  [relu] r = Relu(x) [quantize] q = QuantizeLinear(r, s, z) [dequantize] y = DequantizeLinear(q, s, z)
}"""


def space_of(text: str, opset: int = 19, **options) -> SearchSpace:
    proto = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["": {opset}]>\n{text}')
    config = ConversionConfig(opset=opset, **options)
    model = sanitize(ir.serde.deserialize_model(onnx.shape_inference.infer_shapes(proto)), config).model
    return search_space(model, config, scan_weights(model, config.precision))


def rules(space: SearchSpace) -> dict[str, str]:
    return {decision.id.removeprefix("graph/"): decision.rule for decision in space.lowest.nodes}


def test_rules_that_judge_by_ranges_do_not_run():
    space = space_of(CHAIN)
    assert rules(space) == {"first": "default", "second": "default", "third": "default"}
    assert space.candidates == ("graph/first", "graph/second", "graph/third")


@pytest.mark.parametrize(
    ("options", "rule"),
    [({"nodes_to_exclude": ("second",)}, "node_name"), ({"op_types_to_exclude": ("Exp",)}, "op_type")],
)
def test_what_the_user_excludes_stays_in_fp32(options, rule):
    space = space_of(CHAIN, **options)
    assert space.lowest.by_id()["graph/second"].precision is Precision.FP32
    assert rules(space)["second"] == rule
    assert space.candidates == ("graph/first", "graph/third")


def test_what_the_user_includes_is_not_a_candidate():
    space = space_of(CHAIN, nodes_to_include=("second",))
    assert space.lowest.by_id()["graph/second"].precision is Precision.FP16
    assert space.candidates == ("graph/first", "graph/third")


def test_what_only_a_custom_rule_keeps_is_lowered_and_measured():
    space = space_of(CHAIN, custom_rule=KeepExponentials())
    decision = space.lowest.by_id()["graph/second"]
    assert (decision.precision, decision.rule) == (Precision.FP16, "search")
    assert "graph/second" in space.candidates


def test_a_pair_is_a_candidate_as_a_whole():
    space = space_of(PAIR)
    pair = {"graph/quantize", "graph/dequantize"}
    assert space.together(["graph/quantize"]) == pair
    assert space.together(["graph/relu"]) == {"graph/relu"}
    assert set(space.candidates) == pair | {"graph/relu"}


def test_a_pair_of_which_one_node_is_excluded_is_not_a_candidate():
    space = space_of(PAIR, op_types_to_exclude=("QuantizeLinear",))
    assert rules(space) == {"relu": "default", "quantize": "op_type", "dequantize": "quantization_pair"}
    assert space.candidates == ("graph/relu",)


def test_a_pair_of_which_one_node_is_included_is_not_a_candidate():
    assert space_of(PAIR, op_types_to_include=("DequantizeLinear",)).candidates == ("graph/relu",)


def test_a_plan_keeps_the_nodes_named_and_lowers_the_others():
    plan = space_of(CHAIN).plan(["graph/second"])
    assert {d.id: (d.precision, d.rule, d.reason) for d in plan.nodes} == {
        "graph/first": (Precision.FP16, "default", ""),
        "graph/second": (Precision.FP32, "search", "kept to meet the budget"),
        "graph/third": (Precision.FP16, "default", ""),
    }


def test_a_plan_for_a_node_that_the_model_lacks_is_refused():
    with pytest.raises(PlanError, match="graph/fourth"):
        space_of(CHAIN).plan(["graph/fourth"])
