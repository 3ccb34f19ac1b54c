import onnx
import onnx_ir as ir
import pytest

from autocast_core.backends.onnxruntime.session import OnnxRuntime
from autocast_core.errors import BackendError
from autocast_core.model import load_proto
from autocast_core.verify.node_signatures import one_node_per_signature


def model_of(text: str) -> ir.Model:
    return load_proto(onnx.parser.parse_model(text))


REPEATING = """<ir_version: 8, opset_import: ["" : 17]> g (float16[2] x) => (float16[2] y) {
    a = Relu(x)
    b = Relu(a)
    c = Cast<to=1>(b)
    d = Relu(c)
    e = Cast<to=10>(d)
    f = Relu(e)
    y = Add(f, x)
}"""


def test_nodes_that_differ_in_nothing_but_names_are_loaded_once():
    signatures = one_node_per_signature(model_of(REPEATING))
    assert [(node.op_type, node.outputs[0].name) for node in signatures.graph] == [
        ("Relu", "a"),
        ("Cast", "c"),
        ("Relu", "d"),
        ("Cast", "e"),
        ("Add", "y"),
    ]


def test_a_runtime_loads_what_is_left():
    signatures = one_node_per_signature(model_of(REPEATING))
    session = OnnxRuntime().open(signatures)
    assert set(session.output_names) == {"a", "c", "d", "e", "y"}
    session.close()


def test_small_tensors_stay_constants_and_attributes_tell_signatures_apart():
    signatures = one_node_per_signature(
        model_of("""<ir_version: 8, opset_import: ["" : 17]> g (float[2,3] x) => (float[3,2] y)
        <int64[2] shape = {3, 2}> {
            a = Softmax<axis=0>(x)
            b = Softmax<axis=1>(a)
            three = Constant<value = int64[2] {2, 3}>()
            c = Reshape(b, three)
            y = Reshape(c, shape)
        }""")
    )
    assert [node.op_type for node in signatures.graph] == ["Softmax", "Softmax", "Constant", "Reshape", "Reshape"]
    assert list(signatures.graph.initializers) == ["shape"]


def test_a_node_that_no_runtime_takes_is_found_behind_many_that_it_takes():
    model = model_of(REPEATING.replace("Add(f, x)", "NoSuchOperator(f, x)"))
    model.graph.outputs[0].type = ir.TensorType(ir.DataType.FLOAT16)
    with pytest.raises(BackendError, match="NoSuchOperator"):
        OnnxRuntime().open(one_node_per_signature(model))


IFS = """<ir_version: 8, opset_import: ["" : 17]> g (bool c, float16[2] x) => (float16[2] z) {
    one = Constant<value = float16[1] {1}>()
    h = Relu(x)
    y = If(c) <
        then_branch = t1 () => (float16[2] p1) { p1 = Add(h, one) },
        else_branch = e1 () => (float16[2] q1) { q1 = Neg(x) }
    >
    z = If(c) <
        then_branch = t2 () => (float16[2] p2) { p2 = Add(y, one) },
        else_branch = e2 () => (float16[2] q2) { q2 = Neg(h) }
    >
}"""


def test_an_if_with_the_branches_of_another_is_loaded_once_with_what_its_branches_read():
    model = model_of(IFS)
    signatures = one_node_per_signature(model)
    assert [node.outputs[0].name for node in signatures.graph] == ["h", "one", "y"]
    assert [value.name for value in signatures.graph.inputs] == ["x", "c"]
    OnnxRuntime().open(signatures).close()
    assert [node.outputs[0].name for node in model.graph] == ["one", "h", "y", "z"]


@pytest.mark.parametrize("other", ["Abs(h)", "Cast<to=10>(h)"])
def test_a_branch_with_another_node_tells_ifs_apart(other):
    signatures = one_node_per_signature(model_of(IFS.replace("Neg(h)", other)))
    assert [node.outputs[0].name for node in signatures.graph if node.op_type == "If"] == ["y", "z"]


def test_a_node_of_a_body_that_no_runtime_takes_is_found():
    model = model_of(IFS.replace("Neg(h)", "NoSuchOperator(h)"))
    with pytest.raises(BackendError, match="NoSuchOperator"):
        OnnxRuntime().open(one_node_per_signature(model))
