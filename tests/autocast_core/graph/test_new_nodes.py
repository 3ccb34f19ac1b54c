"""Nodes that are made without onnx_ir's convenience functions are the nodes that those make."""

import numpy as np
import onnx_ir as ir

from autocast_core.graph.new_nodes import new_constant, new_node


def test_nodes_are_those_that_onnx_ir_makes_with_their_outputs_named():
    x, axes = ir.Value(name="x"), ir.Value(name="axes")
    found = new_node("ReduceMax", [x, axes], {"keepdims": 0, "axes": [0, 1]}, "top")
    expected = ir.node("ReduceMax", [x, axes], {"keepdims": 0, "axes": [0, 1]}, name="top")
    expected.outputs[0].name = "top"
    assert ir.serde.serialize_node(found) == ir.serde.serialize_node(expected)
    assert [use.node for use in x.uses()] == [found, expected]


def test_a_constant_holds_its_array():
    node = new_constant(np.array([[1.5, -2.0]], np.float32), "c")
    tensor = node.attributes["value"].as_tensor()
    assert (node.op_type, node.outputs[0].name, tensor.dtype) == ("Constant", "c", ir.DataType.FLOAT)
    assert tensor.numpy().tolist() == [[1.5, -2.0]]
