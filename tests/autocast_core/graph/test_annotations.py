"""Notes beside a graph: what was set is read, and text that somebody else wrote does no harm."""

import json

import onnx_ir as ir
import pytest

from autocast_core.graph import annotations


@pytest.fixture
def node() -> ir.Node:
    return ir.Node("", "Neg", [ir.Value(name="x")], num_outputs=1, name="n")


@pytest.fixture
def model(node: ir.Node) -> ir.Model:
    graph = ir.Graph(node.inputs, node.outputs, nodes=[node], name="g", opset_imports={"": 17})
    return ir.Model(graph, ir_version=10)


def test_kept_nodes_are_a_json_list_in_the_models_metadata(model):
    assert annotations.kept_nodes(model) == ()
    annotations.set_kept_nodes(model, ["graph/a", "graph/b"])
    assert annotations.kept_nodes(model) == ("graph/a", "graph/b")
    assert json.loads(model.metadata_props["autocast.fp32_nodes"]) == ["graph/a", "graph/b"]


def test_replaced_names_are_a_json_list_in_the_nodes_metadata(node):
    assert annotations.replaced_names(node) == ()
    annotations.set_replaced_names(node, ("sub", "div"))
    assert annotations.replaced_names(node) == ("sub", "div")
    assert json.loads(node.metadata_props["autocast.replaces"]) == ["sub", "div"]


@pytest.mark.parametrize("text", ["no json", "{}", "null", "[1]", "[" * 100_000])
def test_text_that_somebody_else_wrote_names_no_nodes(model, text):
    model.metadata_props["autocast.fp32_nodes"] = text
    assert annotations.kept_nodes(model) == ()


def test_a_graph_is_flat_only_as_long_as_it_is_noted(model):
    assert not annotations.is_flat(model.graph)
    annotations.set_flat(model.graph, True)
    assert annotations.is_flat(model.graph)
    annotations.set_flat(model.graph, False)
    assert not annotations.is_flat(model.graph)


def test_quantization_annotations_are_looked_for_unless_it_is_known_that_there_are_none(model):
    assert annotations.may_have_quantization_annotations(model.graph)
    annotations.set_has_quantization_annotations(model.graph, False)
    assert not annotations.may_have_quantization_annotations(model.graph)


def test_a_nodes_function_is_known_until_the_note_is_taken_back(node):
    annotations.set_function_origin(node, (("own", "f", ""), "inner"))
    assert annotations.function_origin(node) == (("own", "f", ""), "inner")
    annotations.set_function_origin(node, None)
    assert annotations.function_origin(node) is None


def test_a_call_is_taken_once(node):
    annotations.set_function_call(node, "call_3")
    assert annotations.take_function_call(node) == "call_3"
    assert annotations.take_function_call(node) is None
