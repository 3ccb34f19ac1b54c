"""Plans with FP16, BF16 and FP32: one Cast from any type to another, weights and interfaces in their readers' types."""

import ml_dtypes
import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import pytest

from autocast_core.apply import apply_plan
from autocast_core.config import ConversionConfig, Precision
from autocast_core.errors import UnconvertibleError
from autocast_core.graph.walk import is_counted, nodes_with_ids
from autocast_core.model import load_proto
from autocast_core.plan import NodeDecision, PlanSettings, PrecisionPlan
from autocast_core.sanitize.names import give_unique_names
from autocast_core.simulate import simulate
from tests.onnx_models import interface_types, operator_types, run_in_onnxruntime

FLOAT, FP16, BF16 = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16
BOTH = (Precision.FP16, Precision.BF16)


def applied(text, opset=22, **types):
    """The model with its nodes, by name, in `types`; `keep` among them is the plan's keep_io_types."""
    keep = types.pop("keep", False)
    model = load_proto(onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["": {opset}]>\n{text}'))
    model = ir.serde.deserialize_model(onnx.shape_inference.infer_shapes(ir.serde.serialize_model(model)))
    give_unique_names(model, ConversionConfig())
    nodes = tuple(
        NodeDecision(node_id, node.op_type, Precision(types[node.name]), "default")
        for node_id, node in nodes_with_ids(model.graph)
        if is_counted(node)
    )
    found = apply_plan(model, PrecisionPlan(BOTH, "", "", nodes, PlanSettings(keep_io_types=keep)))
    proto = ir.serde.serialize_model(found.model)
    onnx.checker.check_model(proto, full_check=True)
    return found, proto


CHAIN = "g (float[3] x) => (float[3] y) { [a] b = Exp(x) [c] d = Mul(b, b) [e] y = Sqrt(d) }"


def test_one_cast_leads_from_fp16_to_bf16_and_one_back():
    found, proto = applied(CHAIN, a="fp16", c="bf16", e="fp16")
    assert operator_types(proto) == ["Exp", "Cast", "Mul", "Cast", "Sqrt"]
    assert [node.attribute[0].i for node in proto.graph.node if node.op_type == "Cast"] == [BF16, FP16]
    assert interface_types(proto) == {"x": FP16, "y": FP16}
    assert found.casts_inserted == 2


def test_the_ends_of_the_graph_have_the_type_of_their_nodes():
    _, proto = applied(CHAIN, a="bf16", c="bf16", e="bf16")
    assert interface_types(proto) == {"x": BF16, "y": BF16}
    _, proto = applied(CHAIN, a="bf16", c="fp16", e="fp32")
    assert interface_types(proto) == {"x": BF16, "y": FLOAT}
    _, proto = applied(CHAIN, a="bf16", c="bf16", e="bf16", keep=True)
    assert interface_types(proto) == {"x": FLOAT, "y": FLOAT}


FORK = "g (float[3] x) => (float[3] y, float[3] z) { [a] y = Exp(x) [b] z = Neg(x) }"


def test_an_input_that_both_types_read_is_fp16():
    """A reader in FP16 has seen that its range suffices."""
    found, proto = applied(FORK, a="bf16", b="fp16")
    assert interface_types(proto) == {"x": FP16, "y": BF16, "z": FP16}
    assert found.casts_inserted == 1


def test_an_input_that_fp32_and_bf16_read_stays_fp32():
    found, proto = applied(FORK, a="bf16", b="fp32")
    assert interface_types(proto) == {"x": FLOAT, "y": BF16, "z": FLOAT}
    assert found.plan.io_kept == ("x", "z")


def test_a_weight_is_stored_in_each_type_that_reads_it():
    text = """g (float[2] x) => (float[2] y, float[2] z) <float[2] w = {70000, 1.001}> {
        [a] y = Add(x, w) [b] z = Mul(x, w) }"""
    _, proto = applied(text, a="fp16", b="bf16")
    stored = {each.name: each for each in proto.graph.initializer}
    assert {name: each.data_type for name, each in stored.items()} == {"w": FP16, "w_bf16": BF16}
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(stored["w"]), np.array([65504, 1.001], np.float16))
    wide = onnx.numpy_helper.to_array(stored["w_bf16"]).astype(np.float32)
    np.testing.assert_array_equal(wide, np.array([70000, 1.001], np.float32).astype(ml_dtypes.bfloat16).astype("f4"))


def test_the_simulation_rounds_each_value_in_its_own_type():
    found, _ = applied(CHAIN, a="fp16", c="bf16", e="fp16")
    x = np.array([0.1, 3.3, 7.7], np.float32)

    def rounded(values, dtype):
        return values.astype(dtype).astype(np.float32)

    b = rounded(np.exp(rounded(x, np.float16)), np.float16)
    d = rounded(rounded(b, ml_dtypes.bfloat16) ** 2, ml_dtypes.bfloat16)
    y = rounded(np.sqrt(rounded(d, np.float16)), np.float16)
    assert np.isinf(y[2])  # the third square is beyond FP16 and so is its root's input
    proto = ir.serde.serialize_model(simulate(found.model))
    np.testing.assert_array_equal(run_in_onnxruntime(proto, {"x": x})[0], y)


def test_a_body_in_bf16_meets_fp16_outside_at_its_ports():
    text = """g (bool c, float[3] x) => (float[3] y) {
        [a] b = Exp(x)
        [if] d = If (c) <
            then_branch: graph = t () => (float[3] p) { [n] p = Neg (b) },
            else_branch: graph = e () => (float[3] q) { [m] q = Abs (b) }>
        [s] y = Sqrt(d)
    }"""
    _, proto = applied(text, a="fp16", **{"if": "bf16"}, n="bf16", m="fp16", s="fp16")
    branches = [each.g for node in proto.graph.node if node.op_type == "If" for each in node.attribute]
    assert {branch.output[0].type.tensor_type.elem_type for branch in branches} == {BF16}


def test_a_node_without_a_form_at_the_opset_is_named_with_the_opset_that_has_one():
    with pytest.raises(
        UnconvertibleError, match=r"node graph/a is bf16 in the plan: Exp has no bf16 form at opset 12; opset 13"
    ):
        applied(CHAIN, opset=12, a="bf16", c="fp16", e="fp16")
