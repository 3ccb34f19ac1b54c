"""Nodes whose bodies have other inputs or outputs than they ask for: found by fuzzing."""

import onnx.parser
import pytest

from autocast_core.errors import ModelError
from autocast_core.model import load_proto

HEAD = '<ir_version: 9, opset_import: ["" : 17]>'
IF = """g (float[2] x, bool c) => (float[2] y) {
    y = If (c) <then_branch = t () => (float[2] a) { a = Relu (x) }, else_branch = e () => (float[2] b) { b = Neg (x) }>
}"""
LOOP = """g (float[2] x, int64 n, bool c) => (float[2] y) {
    y = Loop (n, c, x) <body = b (int64 i, bool d, float[2] s) => (bool d2, float[2] s2) {
        d2 = Identity (d) s2 = Add (s, s) }>
}"""
SCAN = """g (float[2] x, float[3, 2] z) => (float[2] y, float[3, 2] w) {
    y, w = Scan <num_scan_inputs = 1, body = b (float[2] s, float[2] e) => (float[2] s2, float[2] f) {
        s2 = Add (s, e) f = Relu (e) }> (x, z)
}"""


def model(text):
    return onnx.parser.parse_model(f"{HEAD} {text}")


def body(proto, name="body"):
    return next(attribute.g for attribute in proto.graph.node[0].attribute if attribute.name == name)


@pytest.mark.parametrize(
    ("text", "operators"),
    [(IF, ["If", "Relu", "Neg"]), (LOOP, ["Loop", "Identity", "Add"]), (SCAN, ["Scan", "Add", "Relu"])],
)
def test_bodies_that_fit_are_read(text, operators):
    assert [node.op_type for node in load_proto(model(text)).graph.all_nodes()] == operators


@pytest.mark.parametrize(
    ("text", "name", "side"),
    [
        (IF, "then_branch", "output"),
        (IF, "else_branch", "output"),
        (LOOP, "body", "output"),
        (SCAN, "body", "output"),
        (SCAN, "body", "input"),
    ],
)
def test_a_body_with_too_few_of_them_is_refused(text, name, side):
    proto = model(text)
    del getattr(body(proto, name), side)[-1]
    with pytest.raises(ModelError, match=f"{name} has . {side}s instead of"):
        load_proto(proto)


@pytest.mark.parametrize(("text", "side"), [(LOOP, "output"), (SCAN, "output"), (SCAN, "input")])
def test_a_node_with_too_few_of_them_is_refused(text, side):
    proto = model(text)
    del getattr(proto.graph.node[0], side)[:]
    with pytest.raises(ModelError, match="instead of"):
        load_proto(proto)


def test_a_scan_that_scans_more_than_it_has_is_refused():
    proto = model(SCAN)
    next(each for each in proto.graph.node[0].attribute if each.name == "num_scan_inputs").i = 9
    with pytest.raises(ModelError, match="has 2 inputs instead of 9"):
        load_proto(proto)


def test_a_name_with_line_ends_and_escapes_makes_no_second_line():
    proto = model(IF)
    del body(proto, "then_branch").output[:]
    next(each for each in proto.graph.node[0].attribute if each.name == "then_branch").name = "a\nb\x1b[2J"
    with pytest.raises(ModelError) as caught:
        load_proto(proto)
    assert str(caught.value).isprintable()
    assert r"a\nb\x1b[2J" in str(caught.value)
