import numpy as np
import onnx
import onnx_ir as ir

from autocast_core.config import ConversionConfig
from autocast_core.sanitize.types import infer_types
from tests.autocast_core.sanitize.unreadable import Unreadable

CONFIG = ConversionConfig()


def model_of(text: str, **declared: list[int]) -> ir.Model:
    proto = onnx.parser.parse_model(text)
    del proto.graph.value_info[:]
    for name, (dtype, *dims) in declared.items():
        proto.graph.value_info.append(onnx.helper.make_tensor_value_info(name, dtype, dims))
    return ir.serde.deserialize_model(proto)


def values(model: ir.Model) -> dict[str, ir.Value]:
    return {str(value.name): value for node in model.graph.all_nodes() for value in node.outputs}


CHAIN = """
<ir_version: 8, opset_import: ["": 17]>
g (float[2,N] x) => (float[2,N] y) { a = Relu(x) b = Shape(a) y = Reshape(a, b) }
"""


def test_missing_types_and_shapes_are_inferred():
    model = model_of(CHAIN)
    infer_types(model, CONFIG)
    found = values(model)
    assert (found["a"].dtype, found["a"].shape) == (ir.DataType.FLOAT, ir.Shape([2, "N"]))
    assert (found["b"].dtype, found["b"].shape) == (ir.DataType.INT64, ir.Shape([2]))


def test_a_stale_declaration_does_not_win():
    model = model_of(CHAIN, a=[onnx.TensorProto.FLOAT16, 7])
    changes = infer_types(model, CONFIG)
    assert (values(model)["a"].dtype, values(model)["a"].shape) == (ir.DataType.FLOAT, ir.Shape([2, "N"]))
    assert changes[0].detail == "corrected the declared type or shape of 1 values: a"


def test_a_declaration_that_inference_cannot_check_stays():
    text = (
        '<ir_version: 8, opset_import: ["": 17, "mine": 1]> g (float[2] x) => (float[2] y) { a = mine.F(x) y = Neg(a) }'
    )
    model = model_of(text, a=[onnx.TensorProto.FLOAT16, 2])
    assert infer_types(model, CONFIG) == ()
    assert values(model)["a"].dtype == ir.DataType.FLOAT16


def test_a_known_dimension_stays_where_inference_has_none():
    text = """
    <ir_version: 8, opset_import: ["": 17]>
    g (float[N] x, int64[M] s) => (float[K] y) { a = Expand(x, s) y = Neg(a) }
    """
    model = model_of(text, a=[onnx.TensorProto.FLOAT, 5])
    infer_types(model, CONFIG)
    assert values(model)["a"].shape == ir.Shape([5])


def test_types_are_inferred_in_bodies():
    text = """
    <ir_version: 8, opset_import: ["": 17]>
    g (bool c, float[2] x) => (float[2] y) {
      y = If (c) <
        then_branch = t () => (float[2] r) { q = Exp(x) r = Neg(q) },
        else_branch = e () => (float[2] r) { r = Abs(x) }>
    }
    """
    model = model_of(text)
    infer_types(model, CONFIG)
    assert values(model)["q"].dtype == ir.DataType.FLOAT


def test_element_types_do_not_depend_on_shapes():
    text = """
    <ir_version: 8, opset_import: ["": 17]>
    g (float[N,N,N] x, float[M] k) => (float[K] y) { a = Conv(x, k) b = Relu(a) y = Neg(b) }
    """
    model = model_of(text)
    infer_types(model, CONFIG)
    assert values(model)["b"].dtype == ir.DataType.FLOAT


def test_inputs_and_outputs_keep_what_they_declare():
    model = model_of(CHAIN)
    infer_types(model, CONFIG)
    assert [value.shape for value in (*model.graph.inputs, *model.graph.outputs)] == [ir.Shape([2, "N"])] * 2


def test_weights_are_not_read():
    text = """
    <ir_version: 8, opset_import: ["": 17]>
    g (float[2,N] x) => (float[2,2048] y) <float[1] w = {1}> { a = MatMul(x, w) y = Neg(a) }
    """
    model = model_of(text)
    shape = ir.Shape([2, 2048])
    weight = model.graph.initializers["w"]
    weight.const_value = Unreadable(np.zeros((2, 2048), np.float32), name="w")
    weight.shape = shape
    infer_types(model, CONFIG)
    assert values(model)["a"].shape == shape
