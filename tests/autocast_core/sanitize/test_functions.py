import numpy as np
import onnx
import onnx.reference
import onnx_ir as ir
import pytest

from autocast_core.config import ConversionConfig
from autocast_core.errors import ModelError, UnconvertibleError
from autocast_core.sanitize import sanitize

CONFIG = ConversionConfig()
X = np.array([[1.0, -2.0, 3.0], [0.5, 0.25, -4.0]], np.float32)


def inlined(text: str) -> tuple[onnx.ModelProto, onnx.ModelProto, tuple]:
    before = onnx.parser.parse_model(text)
    result = sanitize(ir.serde.deserialize_model(before), CONFIG)
    after = ir.serde.serialize_model(result.model)
    onnx.checker.check_model(after, full_check=True)
    return before, after, result.changes


def assert_same_outputs(before: onnx.ModelProto, after: onnx.ModelProto, **feeds: np.ndarray) -> None:
    expected = onnx.reference.ReferenceEvaluator(before).run(None, feeds)
    actual = onnx.reference.ReferenceEvaluator(after).run(None, feeds)
    for left, right in zip(expected, actual, strict=True):
        np.testing.assert_array_equal(left, right)


NESTED = """
<ir_version: 9, opset_import: ["": 17, "local": 1]>
g (float[2,3] x) => (float[2,3] y) {
  [first] a = local.twice<alpha = 3.0>(x)
  [second] y = local.twice<alpha = 5.0>(a)
}
<domain: "local", opset_import: ["": 17]>
times (v, w) => (r) { r = Mul(v, w) }
<domain: "local", opset_import: ["": 17, "local": 1]>
twice <alpha> (v) => (r) { c = Constant<value_float: float = @alpha>() p = local.times(v, c) r = Add(p, v) }
"""


def test_nested_functions_with_attributes_are_inlined():
    before, after, _ = inlined(NESTED)
    assert not after.functions
    assert_same_outputs(before, after, x=X)


def test_inlined_nodes_are_called_after_their_call():
    _, after, _ = inlined(NESTED)
    assert [node.name for node in after.graph.node] == [
        "first/Constant_1", "first/Mul_1", "first/Add_1", "second/Constant_1", "second/Mul_1", "second/Add_1",
    ]  # fmt: skip


def test_inlining_leaves_no_trace_in_the_metadata():
    _, after, _ = inlined(NESTED)
    assert all(not node.metadata_props for node in after.graph.node)


def test_the_domain_of_inlined_functions_is_no_longer_imported():
    _, after, _ = inlined(NESTED)
    assert [opset.domain for opset in after.opset_import] == [""]


def test_a_function_at_a_lower_opset_is_upgraded_to_the_models():
    text = """
    <ir_version: 9, opset_import: ["": 17, "local": 1]>
    g (float[2,3] x) => (float[2,3] y) { y = local.f<axis = 1>(x) }
    <domain: "local", opset_import: ["": 12]>
    f <axis> (v) => (r) { s = ReduceSum<axes = [1], keepdims = 1>(v) t = Softmax<axis: int = @axis>(v) r = Add(s, t) }
    """
    _, after, changes = inlined(text)
    softmax = np.exp(X) / np.exp(X).sum(axis=1, keepdims=True)
    actual = onnx.reference.ReferenceEvaluator(after).run(None, {"x": X})[0]
    np.testing.assert_allclose(actual, X.sum(axis=1, keepdims=True) + softmax, rtol=1e-6)
    assert [change.step for change in changes] == ["functions", "opset"]


def test_a_model_at_a_lower_opset_is_upgraded_to_its_functions():
    text = """
    <ir_version: 9, opset_import: ["": 13, "local": 1]>
    g (float[2,3] x) => (float[2,3] y) { s = ReduceMean<axes = [1]>(x) y = local.f(x, s) }
    <domain: "local", opset_import: ["": 18]>
    f (v, w) => (r) { r = Sub(v, w) }
    """
    _, after, _ = inlined(text)
    assert after.opset_import[0].version == 18
    actual = onnx.reference.ReferenceEvaluator(after).run(None, {"x": X})[0]
    np.testing.assert_allclose(actual, X - X.mean(axis=1, keepdims=True), rtol=1e-6)


def test_a_function_that_returns_its_input_keeps_the_graphs_names():
    text = """
    <ir_version: 9, opset_import: ["": 17, "local": 1]>
    g (float[2,3] x) => (float[2,3] y, float[2,3] z) { y, z = local.same(x) }
    <domain: "local", opset_import: ["": 17]>
    same (v) => (v, w) { w = Identity(v) }
    """
    _, after, _ = inlined(text)
    assert [value.name for value in after.graph.input] == ["x"]
    assert [value.name for value in after.graph.output] == ["y", "z"]
    actual = onnx.reference.ReferenceEvaluator(after).run(None, {"x": X})
    np.testing.assert_array_equal(actual[0], X)
    np.testing.assert_array_equal(actual[1], X)


def test_an_omitted_output_that_the_function_needs_itself_survives():
    text = """
    <ir_version: 9, opset_import: ["": 17, "local": 1]>
    g (float[2,3] x) => (float[2,3] y) { inner, y = local.f(x) }
    <domain: "local", opset_import: ["": 17]>
    f (v) => (a, b) { a = Neg(v) b = Exp(a) }
    """
    before = onnx.parser.parse_model(text)
    before.graph.node[0].output[0] = ""
    after = ir.serde.serialize_model(sanitize(ir.serde.deserialize_model(before), CONFIG).model)
    onnx.checker.check_model(after, full_check=True)
    actual = onnx.reference.ReferenceEvaluator(after).run(None, {"x": X})[0]
    np.testing.assert_allclose(actual, np.exp(-X), rtol=1e-6)


def test_a_call_inside_a_body_is_inlined_there():
    text = """
    <ir_version: 9, opset_import: ["": 17, "local": 1]>
    g (bool c, float[2,3] x) => (float[2,3] y) {
      y = If (c) <
        then_branch = t () => (float[2,3] r) { r = local.f(x) },
        else_branch = e () => (float[2,3] r) { s = local.f(x) r = local.f(s) }>
    }
    <domain: "local", opset_import: ["": 17]>
    f (v) => (r) { a = Exp(v) r = Neg(a) }
    """
    before, after, _ = inlined(text)
    for condition in (True, False):
        assert_same_outputs(before, after, x=X, c=np.array(condition))


def test_functions_that_nothing_calls_are_dropped_and_reported():
    text = NESTED.replace("a = local.twice<alpha = 3.0>(x)", "a = Neg(x)").replace(
        "y = local.twice<alpha = 5.0>(a)", "y = Neg(a)"
    )
    _, after, changes = inlined(text)
    assert not after.functions
    assert changes[0].detail == "dropped 2 functions that nothing calls: local::times, local::twice"


def test_functions_that_call_each_other_in_a_circle_are_refused():
    text = """
    <ir_version: 9, opset_import: ["": 17, "local": 1]>
    g (float[2,3] x) => (float[2,3] y) { y = local.f(x) }
    <domain: "local", opset_import: ["": 17, "local": 1]>
    f (v) => (r) { r = local.h(v) }
    <domain: "local", opset_import: ["": 17, "local": 1]>
    h (v) => (r) { r = local.f(v) }
    """
    with pytest.raises(ModelError, match="circle"):
        sanitize(ir.serde.deserialize_model(onnx.parser.parse_model(text)), CONFIG)


def test_a_graph_passed_to_a_function_is_refused_by_name():
    proto = onnx.parser.parse_model(NESTED)
    proto.graph.node[0].attribute.append(
        onnx.helper.make_attribute(
            "body", onnx.parser.parse_graph("b () => (float[1] r) { r = Constant<value_floats = [1.0]>() }")
        )
    )
    with pytest.raises(UnconvertibleError, match="twice"):
        sanitize(ir.serde.deserialize_model(proto), CONFIG)
