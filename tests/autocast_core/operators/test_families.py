"""Families of operators: what facts.json says of an operator holds when it runs, and nothing of ONNX is forgotten."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import onnx
import onnx.reference
import onnx_ir as ir
import pytest

from autocast_core.operators import families
from autocast_core.operators.facts import operator_facts, read_facts

FAMILIES = operator_facts().families
RUN = {
    "Abs": "y = Abs(x)",
    "CenterCropPad": "y = CenterCropPad<axes = [3]>(x, seven)",
    "Clip": "y = Clip(x, half)",
    "Compress": "y = Compress<axis = 0>(x, mask)",
    "Concat": "y = Concat<axis = 0>(x, other)",
    "ConcatFromSequence": "s = SequenceConstruct(x, other) y = ConcatFromSequence<axis = 0>(s)",
    "Constant": "y = Constant<value_float = 1.0>()",
    "ConstantOfShape": "y = ConstantOfShape(seven)",
    "DepthToSpace": "y = DepthToSpace<blocksize = 2>(x)",
    "Expand": "y = Expand(x, target)",
    "Flatten": "y = Flatten<axis = 2>(x)",
    "Gather": "y = Gather<axis = 3>(x, picked)",
    "GatherElements": "places = Expand(picked, wide) y = GatherElements<axis = 3>(x, places)",
    "GatherND": "y = GatherND(x, coordinates)",
    "GlobalMaxPool": "y = GlobalMaxPool(x)",
    "Identity": "y = Identity(x)",
    "Max": "y = Max(x, other)",
    "MaxPool": "y = MaxPool<kernel_shape = [2, 2], pads = [1, 1, 0, 0]>(x)",
    "Min": "y = Min(x, other)",
    "Neg": "y = Neg(x)",
    "Pad": "y = Pad(x, pads)",
    "ReduceMax": "y = ReduceMax(x)",
    "ReduceMin": "y = ReduceMin(x)",
    "Relu": "y = Relu(x)",
    "Reshape": "y = Reshape(x, flat)",
    "ReverseSequence": "y = ReverseSequence<batch_axis = 0, time_axis = 1>(x, lengths)",
    "SequenceAt": "s = SequenceConstruct(x, other) y = SequenceAt(s, first)",
    "Slice": "y = Slice(x, one, two, one)",
    "SpaceToDepth": "y = SpaceToDepth<blocksize = 2>(x)",
    "Split": "y, z = Split<axis = 1, num_outputs = 2>(x)",
    "Squeeze": "y = Squeeze(x, first1)",
    "Tile": "y = Tile(x, twice)",
    "TopK": "y, i = TopK<axis = 3>(x, two)",
    "Transpose": "y = Transpose(x)",
    "Trilu": "y = Trilu(x)",
    "Unique": "y = Unique(x)",
    "Unsqueeze": "y = Unsqueeze(x, first1)",
    "Where": "y = Where(chosen, x, other)",
}
"""One node of each operator that is followed, on inputs x and other of shape [1, 4, 4, 6]: its output would differ
from what the family says if the operator did not belong there. An operator that takes several tensors gets both."""
HALF = 0.5
DISTINCT = np.unique(np.random.default_rng(0).standard_normal(400).astype(np.float16)).astype(np.float32)
X, OTHER = np.random.default_rng(1).choice(DISTINCT[DISTINCT != 0], (2, 1, 4, 4, 6), replace=False)


def output(op_type: str) -> np.ndarray:
    """Output 0 of the operator for X and OTHER."""
    text = f"""<ir_version: 10, opset_import: ["" : 21]> g (float[1,4,4,6] x, float[1,4,4,6] other) => (y)
    <int64[1] seven = {{7}}, float half = {{{HALF}}}, bool[1] mask = {{1}}, int64[4] twice = {{2, 1, 2, 1}},
     int64[2] picked = {{1, 1}}, int64[4] target = {{2, 1, 1, 1}}, int64[4] wide = {{1, 4, 4, 1}},
     int64[2,2] coordinates = {{0, 1, 0, 3}},
     int64[8] pads = {{0, 0, 1, 0, 0, 0, 1, 0}}, int64[1] flat = {{-1}}, int64[1] lengths = {{3}},
     int64 first = {{0}}, int64[1] first1 = {{0}}, int64[1] one = {{1}}, int64[1] two = {{2}},
     bool[6] chosen = {{1, 0, 1, 1, 0, 0}}> {{ {RUN[op_type]} }}"""
    model = onnx.reference.ReferenceEvaluator(onnx.parser.parse_model(text))
    return model.run(["y"], {"x": X, "other": OTHER})[0]


def counted(array: np.ndarray) -> Counter:
    return Counter(array.reshape(-1).tolist())


def elements(*arrays: np.ndarray) -> set[float]:
    return {element for array in arrays for element in array.reshape(-1).tolist()}


def is_element_of_an_input(op_type: str) -> bool:
    return elements(output(op_type)) <= elements(X, OTHER)


def is_element_its_negative_or_zero(op_type: str) -> bool:
    return elements(np.abs(output(op_type))) <= elements(np.abs(X), np.abs(OTHER)) | {0.0, HALF}


def test_inputs_are_distinct_numbers_other_than_zero():
    assert len(elements(X, OTHER) | {0.0, HALF}) == X.size + OTHER.size + 2


def test_every_operator_of_a_family_is_an_operator_of_onnx_and_in_one_family_only():
    known = {schema.name for schema in onnx.defs.get_all_schemas() if schema.domain == ""}
    counts = Counter(op_type for family in FAMILIES.values() for op_type in family)
    assert counts.keys() <= known
    assert set(counts.values()) == {1}


def test_what_is_left_out_of_a_family_has_a_reason_and_is_in_none_that_follows_elements():
    for name, family in read_facts()["families"].items():
        assert family["what"], name
        for op_type, reason in family.get("not", {}).items():
            assert reason
            assert op_type not in FAMILIES[name]


@pytest.mark.parametrize("op_type", sorted(families.REARRANGES))
def test_what_rearranges_hands_out_every_element_once(op_type):
    assert counted(output(op_type)) == counted(X)


@pytest.mark.parametrize("op_type", sorted(families.MOVES_ELEMENTS))
def test_what_moves_elements_hands_out_elements_only(op_type):
    assert elements(output(op_type)) <= elements(X)


@pytest.mark.parametrize("op_type", sorted(FAMILIES["repeats"]))
def test_what_repeats_hands_out_every_element_at_least_once(op_type):
    assert counted(output(op_type)).keys() == counted(X).keys()


@pytest.mark.parametrize("op_type", sorted(FAMILIES["picks"] | FAMILIES["joins"]))
def test_what_picks_or_joins_hands_out_elements_of_its_inputs_only(op_type):
    assert is_element_of_an_input(op_type)


@pytest.mark.parametrize("op_type", sorted(FAMILIES["joins"]))
def test_what_joins_is_tried_on_two_different_inputs(op_type):
    assert re.search(r"\bx\b.*\bother\b", RUN[op_type])


@pytest.mark.parametrize("op_type", sorted(families.FILLS))
def test_what_fills_hands_out_elements_and_zero(op_type):
    assert elements(output(op_type)) <= elements(X) | {0.0}


@pytest.mark.parametrize("op_type", sorted(FAMILIES["changes_sign"]))
def test_what_changes_sign_hands_out_elements_their_negatives_and_zero(op_type):
    assert is_element_its_negative_or_zero(op_type)


@pytest.mark.parametrize("node", ["y = Sum(x, other)", "y = Mean(x, other)", "y = Mul(x, other)", "y = Abs(x)"])
def test_an_operator_that_computes_would_fail_as_one_that_joins(node, monkeypatch):
    monkeypatch.setitem(RUN, "wrong", node)
    assert not is_element_of_an_input("wrong")


@pytest.mark.parametrize("node", ["y = LeakyRelu(x)", "y = Sign(x)", "y = Mul(x, other)"])
def test_an_operator_that_scales_would_fail_as_one_that_changes_sign(node, monkeypatch):
    monkeypatch.setitem(RUN, "wrong", node)
    assert not is_element_its_negative_or_zero("wrong")


@pytest.mark.parametrize("op_type", sorted(families.HANDS_ON - families.CONTROL_FLOW))
def test_what_hands_on_gives_rounded_numbers_of_rounded_numbers(op_type):
    found = output(op_type)
    assert np.array_equal(found, found.astype(np.float16).astype(np.float32))


@pytest.mark.parametrize("op_type", sorted(FAMILIES["picks"] | FAMILIES["selects"]))
def test_what_keeps_quantization_commutes_with_a_positive_scale(op_type, monkeypatch):
    plain = output(op_type)
    monkeypatch.setitem(globals(), "X", X * np.float32(4))
    assert np.array_equal(output(op_type), plain * np.float32(4))


def test_an_operator_of_another_domain_is_in_no_family():
    node = ir.Node("custom", "Identity", [ir.Value(name="x")], num_outputs=1)
    assert not families.is_in(node, families.REARRANGES)


def test_every_attribute_of_onnx_that_names_an_element_type_is_known():
    integer = onnx.defs.OpSchema.AttrType.INT
    named = {
        attribute.name
        for schema in onnx.defs.get_all_schemas_with_history()
        for attribute in schema.attributes.values()
        if attribute.type == integer and schema.domain == ""
    }
    assert {name for name in named if name == "to" or name.endswith(("type", "precision"))} == families.TYPE_ATTRIBUTES


def test_every_operator_with_bodies_is_control_flow():
    graph = onnx.defs.OpSchema.AttrType.GRAPH
    with_bodies = {
        schema.name
        for schema in onnx.defs.get_all_schemas()
        if schema.domain == "" and any(attribute.type == graph for attribute in schema.attributes.values())
    }
    assert with_bodies == families.CONTROL_FLOW
