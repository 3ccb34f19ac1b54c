import numpy as np
import onnx
import onnx_ir as ir

from autocast_core.config import ConversionConfig
from autocast_core.sanitize.constants import normalize_constants


def normalized(constant: str) -> tuple[ir.Model, tuple]:
    text = f'<ir_version: 8, opset_import: ["": 17]> g () => (float y) {{ c = Constant<{constant}>() y = Identity(c) }}'
    model = ir.serde.deserialize_model(onnx.parser.parse_model(text))
    return model, normalize_constants(model, ConversionConfig())


def test_a_float_becomes_a_tensor_of_rank_0():
    model, changes = normalized("value_float = 1.5")
    tensor = model.graph[0].attributes["value"].as_tensor()
    assert list(model.graph[0].attributes) == ["value"]
    assert (tensor.dtype, tensor.shape) == (ir.DataType.FLOAT, ir.Shape([]))
    assert float(tensor.numpy()) == 1.5
    assert changes[0].detail == "1 Constant nodes hold tensors now"


def test_floats_become_a_vector():
    model, _ = normalized("value_floats = [1.5, -2.0]")
    np.testing.assert_array_equal(model.graph[0].attributes["value"].as_tensor().numpy(), [1.5, -2.0])
    assert model.graph[0].outputs[0].shape == ir.Shape([2])


def test_other_constants_are_left_alone():
    for constant in ("value_int = 3", "value_ints = [1, 2]", 'value_string = "a"', "value = float {2.0}"):
        model, changes = normalized(constant)
        assert changes == ()
        assert list(model.graph[0].attributes) == [constant.split(" ")[0]]
