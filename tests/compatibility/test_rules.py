"""Each of AutoCast's rules: what it looks at, at which bound, and custom rules in every form that AutoCast takes."""

import logging

import numpy as np
import onnx
import pytest

from autocast_core import NodeRuleBase, convert_to_mixed_precision
from tests.compatibility.converted import CHAIN, X

HEAD = '<ir_version: 8, opset_import: ["": 17]> '


def vector(*values):
    return {"x": np.array(values, np.float32)}


@pytest.mark.parametrize(
    ("value", "kept"), [(512.0, set()), (-512.0, set()), (512.5, {"n"}), (-512.5, {"n"}), (1e30, {"n"})]
)
def test_io_range_is_strict_and_of_both_signs(convert, value, kept):
    found = convert(HEAD + "g (float[2] x) => (float[2] y) { [n] y = Neg(x) }", calibration_data=vector(value, 0))
    assert found.kept == kept


def test_io_range_looks_at_inputs_as_well_as_outputs(convert):
    text = HEAD + "g (float[2] x) => (float[2] y) { [clip] a = Clip(x, low, high) [n] y = Neg(a) }"
    text = text.replace("(float[2] y) {", "(float[2] y) <float low = {-1.0}, float high = {1.0}> {")
    assert convert(text, calibration_data=vector(1000, 0)).kept == {"clip"}


def test_io_range_does_not_look_at_integers(convert):
    """AutoCast does, and so keeps embedding tables of more than 512 rows in FP32: a difference on purpose."""
    text = HEAD + "g (float[600,2] x, int64[1] i) => (float[1,2] y) { [gather] y = Gather(x, i) }"
    data = {"x": np.ones((600, 2), np.float32), "i": np.array([599])}
    assert convert(text, calibration_data=data).kept == set()


@pytest.mark.parametrize(("weight", "kept"), [("65504", set()), ("65505", {"n"}), ("-65505", {"n"}), ("1e9", {"n"})])
def test_initializer_range_is_strict_and_of_both_signs(convert, weight, kept):
    text = HEAD + f"g (float[2] x) => (float[2] y) <float[2] w = {{1, {weight}}}> {{ [n] y = Add(x, w) }}"
    assert convert(text, data_max=np.inf).kept == kept


@pytest.mark.parametrize(
    ("node", "shape", "depth"),
    [
        ("y = MatMul(x, w)", "2,16", 16),
        ("y = Gemm(x, w)", "2,16", 16),
        ("y = ReduceSum(x, one)", "2,16", 16),
        ("y = ReduceMean<axes = [1]>(x)", "2,16", 16),
    ],
)
def test_depth_of_reduction_is_the_number_of_addends(convert, node, shape, depth):
    text = HEAD + f"g (float[{shape}] x) => (float[a,b] y) <int64[1] one = {{1}}> {{ [n] {node} }}"
    model = onnx.parser.parse_model(text)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones((16, 3), np.float32), "w"))
    assert convert(model, data_max=np.inf, max_depth_of_reduction=depth).kept == set()
    assert convert(model, data_max=np.inf, max_depth_of_reduction=depth - 1).kept == {"n"}


@pytest.mark.parametrize(("group", "depth"), [(1, 36), (2, 18)])
def test_the_depth_of_a_convolution_is_its_kernel_times_its_channels(convert, group, depth):
    text = HEAD + f"g (float[1,4,8,8] x) => (float[1,4,6,6] y) {{ [n] y = Conv<group = {group}>(x, w) }}"
    model = onnx.parser.parse_model(text)
    kernel = np.full((4, 4 // group, 3, 3), 0.01, np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(kernel, "w"))
    assert convert(model, max_depth_of_reduction=depth).kept == set()
    assert convert(model, max_depth_of_reduction=depth - 1).kept == {"n"}


class Plain:
    """No base class, no name: `check` alone."""

    def check(self, node):
        return node.op_type == "Relu"


class Inherited(NodeRuleBase):
    def _check_inner(self, node):
        return node.op_type == "Relu"


class WithNameAndInner(NodeRuleBase):
    name = "relus"

    def _check_inner(self, node):
        return node.op_type == "Relu"


class WithState(NodeRuleBase):
    def __init__(self, types):
        self.types = types

    def _check_inner(self, node):
        return node.op_type in self.types


@pytest.mark.parametrize("rule", [Plain(), Inherited(), WithNameAndInner(), WithState({"Relu"})], ids=lambda r: type(r))
def test_a_custom_rule_of_any_form_gets_onnx_nodes(convert, rule):
    assert convert(custom_rule=rule, data_max=np.inf).kept == {"relu"}


def test_a_custom_rule_sees_every_node_with_its_name_inputs_and_attributes(convert):
    seen = []

    class See:
        def check(self, node):
            assert isinstance(node, onnx.NodeProto)
            seen.append((node.name, node.op_type, tuple(node.input)))
            return False

    convert(custom_rule=See(), data_max=np.inf)
    assert seen == [
        ("mm", "MatMul", ("x", "w")),
        ("add", "Add", ("m", "b")),
        ("relu", "Relu", ("a",)),
        ("exp", "Exp", ("b",)),
        ("mul", "Mul", ("r", "e")),
    ]


def test_the_hook_log_skipped_is_called_for_nodes_that_a_rule_keeps(convert):
    skipped = []

    class Hooked(NodeRuleBase):
        def _check_inner(self, node):
            return node.op_type in ("Relu", "MatMul")

        def _log_skipped(self, node, **kwargs):
            skipped.append(node.name)

    assert convert(custom_rule=Hooked(), data_max=np.inf).kept == {"mm", "relu"}
    assert skipped == ["mm", "relu"]


def test_without_a_hook_kept_nodes_are_logged_at_info(convert, caplog):
    with caplog.at_level(logging.INFO, "autocast_core"):
        convert(custom_rule=Inherited(), data_max=np.inf)
    assert "Inherited keeps node relu in FP32" in caplog.messages


class RuleWithoutCheck(NodeRuleBase):
    """What AutoCast's base class asks of a rule, `_check_inner`, is not defined."""


def test_a_rule_that_does_not_define_autocasts_check_inner_is_refused_by_name(saved):
    with pytest.raises(NotImplementedError, match="RuleWithoutCheck must define _check_inner"):
        convert_to_mixed_precision(saved(), custom_rule=RuleWithoutCheck())


def test_an_include_option_overrides_a_custom_rule(convert):
    assert convert(custom_rule=Plain(), data_max=np.inf, op_types_to_include=["Relu"]).kept == set()


def test_all_rules_are_alternatives(convert):
    found = convert(CHAIN, nodes_to_exclude=["mm"], custom_rule=Plain(), calibration_data={"x": X})
    assert found.kept == {"mm", "relu", "exp", "mul"}
