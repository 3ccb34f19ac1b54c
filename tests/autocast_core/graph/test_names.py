"""Names that nothing in a model has yet."""

from itertools import islice

import onnx_ir as ir

from autocast_core.graph.names import UnusedNames, unused_names

MODEL = """<ir_version: 10, opset_import: ["" : 17]> g (bool c, float[2] x) => (float[2] y1) <float[2] w = {1, 2}> {
    [node] y1 = If (c) <
        then_branch = t () => (float[2] p) { [inner] p = Add(x, w) }, else_branch = e () => (float[2] q) { q = Abs(x) }
    >
}"""


def test_a_name_in_use_gets_the_first_free_number():
    names = UnusedNames(["a", "a_1", None, ""])
    assert [names.fresh("a"), names.fresh("a"), names.fresh("b")] == ["a_2", "a_3", "b"]


def test_numbered_names_pass_over_those_in_use():
    assert list(islice(UnusedNames(["n.1"]).numbered("n"), 3)) == ["n.0", "n.2", "n.3"]


def test_a_name_is_handed_out_once_whoever_asks():
    names = UnusedNames([])
    first, second = names.numbered("n"), names.numbered("n")
    assert [next(first), next(second), names.fresh("n.2"), next(first)] == ["n.0", "n.1", "n.2", "n.3"]


def test_names_of_nodes_values_and_bodies_are_in_use():
    names = unused_names(ir.from_onnx_text(MODEL).graph)
    assert [names.claim(name) for name in ("c", "x", "w", "y1", "node", "inner", "p", "q", "free")] == [False] * 8 + [
        True
    ]
