"""What is constant in a graph, however it is written."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from autocast_core.graph.constants import constant_tensor, scalar, small_array


def value_of(node: str) -> ir.Value:
    """The output of the model's one node."""
    model = ir.from_onnx_text(f'<ir_version: 10, opset_import: ["" : 17]> g (float[2] x) => (y) {{ {node} }}')
    return model.graph[0].outputs[0]


@pytest.mark.parametrize(
    ("attribute", "expected"),
    [
        ("value = float[2] {1, 2}", np.array([1, 2], np.float32)),
        ("value_float = 1.5", np.array(1.5, np.float32)),
        ("value_floats = [1.5, 2.5]", np.array([1.5, 2.5], np.float32)),
        ("value_int = 3", np.array(3, np.int64)),
        ("value_ints = [3, -1]", np.array([3, -1], np.int64)),
    ],
)
def test_a_constant_holds_a_tensor_whatever_its_attribute(attribute, expected):
    found = small_array(value_of(f"y = Constant<{attribute}>()"))
    assert found is not None
    assert (found.dtype, found.shape, found.tolist()) == (expected.dtype, expected.shape, expected.tolist())


@pytest.mark.parametrize("node", ["y = Neg(x)", 'y = Constant<value_string = "text">()'])
def test_nothing_else_does(node):
    assert constant_tensor(value_of(node)) is None


def test_reading_a_constant_does_not_rename_its_tensor():
    value = value_of("y = Constant<value = float inner {1}>()")
    assert scalar(value) == 1.0
    tensor = constant_tensor(value)
    assert tensor is not None and tensor.name == "inner"


def test_an_initializer_that_callers_may_override_is_not_constant():
    model = ir.from_onnx_text(
        '<ir_version: 10, opset_import: ["" : 17]> g (float[1] x, float[1] w) => (y)'
        " <float[1] w = {1}> { y = Add(x, w) }"
    )
    assert scalar(model.graph.initializers["w"]) is None
