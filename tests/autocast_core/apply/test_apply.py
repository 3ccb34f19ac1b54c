"""Apply prints a plan out. Whole conversions are in edge_cases/; here plans are written by hand."""

import json

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import pytest

from autocast_core.apply import apply_plan
from autocast_core.config import ConversionConfig, Precision
from autocast_core.errors import PlanError, UnconvertibleError
from autocast_core.graph.walk import is_counted, nodes_with_ids
from autocast_core.plan import NodeDecision, PlanSettings, PrecisionPlan
from autocast_core.sanitize.names import give_unique_names
from tests.onnx_models import interface_types, operator_types

HEAD = '<ir_version: 10, opset_import: ["": 22]>\n'


def load(text: str) -> ir.Model:
    model = ir.serde.deserialize_model(onnx.shape_inference.infer_shapes(onnx.parser.parse_model(HEAD + text)))
    give_unique_names(model, ConversionConfig())
    return model


def applied(text: str, low: str = "", precision: str = "fp16", fp16: str = "", **settings):
    """The model with the nodes in `low` (names, or * for all) in 16 bits, those in `fp16` in FP16, as protobuf too."""
    model = load(text)
    nodes = []
    for node_id, node in nodes_with_ids(model.graph):
        if is_counted(node):
            chosen = precision if low == "*" or node.name in low.split() else "fp32"
            chosen = "fp16" if node.name in fp16.split() else chosen
            nodes.append(NodeDecision(node_id, node.op_type, Precision(chosen), "default", node.domain))
    plan = PrecisionPlan(Precision(precision), "", "", tuple(nodes), PlanSettings(**settings))
    found = apply_plan(model, plan)
    proto = ir.serde.serialize_model(found.model)
    onnx.checker.check_model(proto, full_check=True)
    return found, proto


FAN = (
    "g (float[3] x) => (float[3] p, float[3] q, float[3] r) { [a] h = "
    "Exp(x) [b] p = Neg(h) [c] q = Abs(h) [d] r = Relu(h) }"
)


def test_one_value_gets_one_cast_for_all_its_readers():
    found, proto = applied(FAN, low="a")
    assert operator_types(proto) == ["Exp", "Cast", "Neg", "Abs", "Relu"]
    assert found.casts_inserted == 1
    assert {node.input[0] for node in proto.graph.node[2:]} == {"h_cast_fp32"}


def test_a_plan_of_fp32_alone_changes_nothing():
    model = load(FAN)
    found, proto = applied(FAN)
    assert found.casts_inserted == 0
    before = ir.serde.serialize_model(model)
    assert proto.graph == before.graph


def test_the_model_passed_in_is_not_modified():
    text = "g (float[3] x) => (float[3] y) <float[3] w = {1, 2, 3}> { [a] y = Mul(x, w) }"
    model = load(text)
    before = ir.serde.serialize_model(model).SerializeToString(deterministic=True)
    plan = PrecisionPlan(Precision.FP16, "", "", (NodeDecision("graph/a", "Mul", Precision.FP16, "default"),))
    apply_plan(model, plan)
    assert ir.serde.serialize_model(model).SerializeToString(deterministic=True) == before


@pytest.mark.parametrize("kind", ["initializer", "Constant"])
def test_a_literal_with_readers_of_both_kinds_is_stored_in_both(kind):
    declared, made = (
        ("<float[3] w = {1, 2, 3}>", "")
        if kind == "initializer"
        else ("", "w = Constant<value = float[3] {1, 2, 3}>()")
    )
    found, proto = applied(
        f"g (float[3] x) => (float[3] y) {declared} {{ {made} [a] h = Mul(x, w) [b] i = Add(h, w) [c] y = Sub(i, w) }}",
        low="a c",
    )
    assert found.casts_inserted == 2
    stored = [t.data_type for t in proto.graph.initializer] + [
        a.t.data_type for n in proto.graph.node if n.op_type == "Constant" for a in n.attribute
    ]
    assert sorted(stored) == [onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16]


def test_a_larger_literal_with_readers_of_both_kinds_is_stored_once_and_cast(applied):
    elements = ", ".join(["1"] * 300)
    proto = applied(
        f"""<ir_version: 8, opset_import: ["": 17]>
        g (float[300] x) => (float[300] y, float[300] z) <float[300] w = {{{elements}}}> {{
          [low] y = Add(x, w) [kept] z = Mul(x, w) }}""",
        keep=["kept"],
    )
    assert [each.data_type for each in proto.graph.initializer] == [onnx.TensorProto.FLOAT]
    assert [each.input[0] for each in proto.graph.node if each.op_type == "Cast"].count("w") == 1


def test_fp16_and_bf16_nodes_stand_in_one_model():
    """A value in 16 bits reaches readers of the other 16-bit type by one cast."""
    found, proto = applied(FAN, low="b c d", precision="bf16", fp16="a")
    kinds = [next(a.i for a in node.attribute) for node in proto.graph.node if node.op_type == "Cast"]
    assert kinds.count(onnx.TensorProto.BFLOAT16) >= 1
    assert found.casts_inserted == len(kinds)


def test_inputs_that_only_fp32_nodes_read_stay_fp32_and_are_listed():
    found, proto = applied(
        "g (float[3] a, float[3] b) => (float[3] y, float[3] z) { [n] y = Neg(a) [m] z = Abs(b) }", low="n"
    )
    assert interface_types(proto) == {"a": 10, "b": 1, "y": 10, "z": 1}
    assert set(found.plan.io_kept) == {"b", "z"}


@pytest.mark.parametrize(("to", "wanted"), [(7, 1), (6, 1), (12, 1), (2, 10), (9, 10)])
def test_an_input_that_is_cast_to_indices_stays_fp32_and_one_cast_to_bytes_does_not(to, wanted):
    _, proto = applied(
        f"g (float[3] a, float[3] b) => (y, float[3] z) {{ y = Cast<to = {to}>(a) [m] z = Abs(b) }}", "*"
    )
    assert interface_types(proto)["a"] == wanted


@pytest.mark.parametrize(
    ("keep", "wanted"), [(True, [1, 1, 1, 1]), (False, [10, 10, 10, 10]), (["a", "z"], [1, 10, 10, 1])]
)
def test_kept_inputs_and_outputs_get_casts_instead(keep, wanted):
    text = "g (float[3] a, float[3] b) => (float[3] y, float[3] z) { [n] y = Neg(a) [m] z = Abs(b) }"
    found, proto = applied(text, low="*", keep_io_types=keep)
    assert list(interface_types(proto).values()) == wanted
    assert found.casts_inserted == wanted.count(1)
    assert [value.name for value in proto.graph.output] == ["y", "z"]


def test_initializers_over_the_limit_are_cast_at_run_time():
    text = (
        "g (float[3] x) => (float[3] y) <float[3] w = {1, 2, 3}, float v = {2}> { [a] h = Mul(x, w) [b] y = Mul(h, v) }"
    )
    found, proto = applied(text, low="*", init_conversion_max_bytes=11)
    assert {t.name: t.data_type for t in proto.graph.initializer} == {"w": 1, "v": 10}
    assert operator_types(proto) == ["Cast", "Mul", "Mul"]
    assert found.casts_inserted == 1


def test_dtype_attributes_follow_their_node():
    text = (
        "g (float[3] x) => (float[3] y) { s = Shape(x) [c] c = ConstantOfShape<value = float[1] "
        "{2}>(s) [r] r = RandomNormal<shape = [3]>() [a] h = Add(c, r) [b] y = Add(h, x) }"
    )
    _, proto = applied(text, low="*")
    attributes = {node.op_type: {a.name: a for a in node.attribute} for node in proto.graph.node}
    assert attributes["ConstantOfShape"]["value"].t.data_type == onnx.TensorProto.FLOAT16
    assert attributes["RandomNormal"]["dtype"].i == onnx.TensorProto.FLOAT16


def test_a_cast_of_the_model_is_used_again_instead_of_a_second_one():
    text = "g (float[3] x) => (float[3] y, float16[3] z) { [a] h = Exp(x) [k] z = Cast<to = 10>(h) [b] y = Neg(h) }"
    found, proto = applied(text, low="b")
    assert found.casts_inserted == 0
    assert operator_types(proto).count("Cast") == 1
    assert next(node for node in proto.graph.node if node.op_type == "Neg").input[0] == "z"


def test_a_cast_that_undoes_another_is_not_made():
    text = "g (float16[3] x) => (float[3] y) { [k] h = Cast<to = 1>(x) [a] y = Neg(h) }"
    found, proto = applied(text, low="*")
    assert operator_types(proto) == ["Neg"]
    assert found.casts_inserted == 0


def test_bodies_get_their_casts_where_they_need_them():
    text = """g (float[3] x, bool c) => (float[3] z) {
      [i] z = If(c) <then_branch = t () => (float[3] a) { [e] k = Exp(x) [n] a = Neg(k) },
                     else_branch = e () => (float[3] b) { [r] b = Relu(x) }>
    }"""
    _, proto = applied(text, low="i n r")
    branch = next(a.g for a in proto.graph.node[-1].attribute if a.name == "then_branch")
    assert [node.op_type for node in branch.node] == ["Exp", "Cast", "Neg"]
    assert proto.graph.node[0].op_type == "Cast"


def test_metadata_lists_what_was_kept():
    found, _ = applied(FAN, low="a c")
    assert json.loads(found.model.metadata_props["autocast.fp32_nodes"]) == ["graph/b", "graph/d"]


def test_casts_have_names_that_nothing_else_has():
    text = (
        "g (float[3] x) => (float[3] y) { [h_cast_fp32] h = Exp(x) "
        "h_cast_fp32_1 = Identity(h) [b] y = Add(h, h_cast_fp32_1) }"
    )
    _, proto = applied(text, low="h_cast_fp32")
    names = [name for node in proto.graph.node for name in (node.name, *node.output)]
    assert len([name for name in names if name == "h_cast_fp32"]) == 1


def test_a_sequence_that_would_need_a_cast_is_refused_naming_it():
    text = "g (float[3] a) => (float[3] y) <int64 z = {0}> { [s] s = SequenceConstruct(a, a) [t] y = SequenceAt(s, z) }"
    with pytest.raises(UnconvertibleError, match=r"value 's'.*exclude or include them together"):
        applied(text, low="s")


@pytest.mark.parametrize(
    ("ids", "said"),
    [
        (["graph/a"], "the plan says nothing of 3 node(s): graph/b, graph/c, graph/d"),
        (["graph/a", "graph/b", "graph/c", "graph/d", "graph/e"], "the model lacks 1 node(s): graph/e"),
    ],
)
def test_a_plan_of_other_nodes_is_refused_naming_them(ids, said):
    decisions = tuple(NodeDecision(node_id, "Exp", Precision.FP32, "default") for node_id in ids)
    with pytest.raises(PlanError) as error:
        apply_plan(load(FAN), PrecisionPlan(Precision.FP16, "", "", decisions))
    assert said in str(error.value)


def test_weights_are_rounded_to_nearest_even_and_saturate():
    text = (
        "g (float[6] x) => (float[6] y) <float[6] w = {1.0004883, "
        "1.0014648, 1e9, -1e9, -1e-9, 65519}> { [a] y = Mul(x, w) }"
    )
    _, proto = applied(text, low="*")
    weights = onnx.numpy_helper.to_array(proto.graph.initializer[0])
    np.testing.assert_array_equal(weights, np.array([1.0, 1.00195312, 65504, -65504, -0.0, 65504], np.float16))
    assert np.signbit(weights[4])
