"""The structure digest sees the graph, and neither precision nor weights nor names."""

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import pytest
from onnx import numpy_helper

from autocast_core.model import ConvertedTensor, load_proto
from autocast_core.model.structure_digest import structure_digest


def digest(text: str, **weights: np.ndarray) -> str:
    model = onnx.parser.parse_model('<ir_version: 10, opset_import: ["" : 22]>' + text)
    for name, value in weights.items():
        model.graph.initializer.append(numpy_helper.from_array(value, name))
    return structure_digest(load_proto(model))


BASE = "g (float[2] x) => (float[2] y) {h = Relu (x) y = Mul (h, x)}"
W = np.ones(2, np.float32)


@pytest.mark.parametrize(
    "other",
    [
        "g (float16[2] x) => (float16[2] y) {h = Relu (x) y = Mul (h, x)}",
        "g (bfloat16[2] x) => (float[2] y) {h = Relu (x) t = Mul (h, x) y = Cast<to = 1> (t)}",
        "g (float[2] x) => (float[2] y) {c = Cast<to=10>(x) h = Relu (c) k = Cast<to=1>(h) y = Mul (k, x)}",
        "other (float[2] x) => (float[2] y) {[node] renamed = Relu (x) y = Mul (renamed, x)}",
        "g (float[2] x) => (float[2] y) <float16[2] unused = {1, 2}> {h = Relu (x) y = Mul (h, x)}",
    ],
)
def test_types_casts_and_names_do_not_count(other):
    assert digest(other) == digest(BASE)


@pytest.mark.parametrize(
    "other",
    [
        "g (float[3] x) => (float[3] y) {h = Relu (x) y = Mul (h, x)}",
        "g (float[2] z) => (float[2] y) {h = Relu (z) y = Mul (h, z)}",
        "g (float[2] x) => (float[2] y) {h = Tanh (x) y = Mul (h, x)}",
        "g (float[2] x) => (float[2] y) {h = Relu (x) y = Mul (x, h)}",
        "g (float[2] x) => (float[2] y) {h = Relu (x) y = Mul (h, h)}",
        "g (float[2] x) => (float[2] y, float[2] h) {h = Relu (x) y = Mul (h, x)}",
        "g (float[2] x) => (float[2] y) {h = LeakyRelu (x) y = Mul (h, x)}",
    ],
)
def test_shapes_operators_and_edges_count(other):
    assert digest(other) != digest(BASE)


def test_attributes_count():
    one = digest("g (float[2] x) => (float[2] y) {y = LeakyRelu<alpha = 0.1> (x)}")
    assert one != digest("g (float[2] x) => (float[2] y) {y = LeakyRelu<alpha = 0.2> (x)}")


def test_the_values_of_float_weights_do_not_count_but_their_shapes_do():
    text = "g (float[2] x) => (float[2] y) {y = Mul (x, w)}"
    assert digest(text, w=W) == digest(text, w=W * 3) != digest(text, w=np.ones((1, 2), np.float32))


def test_the_values_of_small_integer_literals_count():
    text = "g (float[2,2] x) => (float y) {y = ReduceSum (x, axes)}"
    assert digest(text, axes=np.int64([0])) != digest(text, axes=np.int64([1]))


def test_an_initializer_and_a_constant_are_alike():
    assert digest("g (float[2] x) => (float[2] y) {y = Mul (x, w)}", w=W) == digest(
        "g (float[2] x) => (float[2] y) {k = Constant<value = float[2] {5, 6}> () y = Mul (x, k)}"
    )


def test_a_literal_stored_twice_is_a_literal_stored_once():
    once = "g (float[2] x) => (float[2] y) {h = Mul (x, w) y = Add (h, w)}"
    twice = "g (float[2] x) => (float[2] y) {h = Mul (x, w) c = Cast<to=1> (v) y = Add (h, c)}"
    assert digest(once, w=W) == digest(twice, w=W, v=W.astype(np.float16))


@pytest.mark.parametrize(
    ("single", "half"),
    [
        ("Cast<to = 1> (n)", "Cast<to = 10> (n)"),
        ("RandomNormal<shape = [2]> ()", "RandomNormal<shape = [2], dtype = 10> ()"),
        ("ConstantOfShape (n)", "ConstantOfShape<value = float16[1] {0}> (n)"),
        ("EyeLike (m)", "EyeLike<dtype = 10> (m)"),
        ("SequenceEmpty ()", "SequenceEmpty<dtype = 10> ()"),
    ],
)
def test_attributes_that_hold_a_float_type_do_not_count(single, half):
    def text(node):
        return f"g (int64[1] n, float[2,2] m) => (int64[1] y) {{z = {node} y = Identity (n)}}"

    assert digest(text(single)) == digest(text(half))


def test_a_cast_to_integers_counts():
    text = "g (float[2] x) => (float[2] y) {{c = Cast<to = {}> (x) y = Cast<to = 1> (c)}}"
    assert digest(text.format(7)) != digest(text.format(6))


def branches(then: str, orelse: str) -> str:
    return f"""g (bool c, float[2] x) => (float[2] y) {{
        h = Relu (x)
        y = If (c) <
            then_branch = t () => (float[2] p) {{{then}}},
            else_branch = e () => (float[2] q) {{{orelse}}}> }}"""


def test_bodies_count_and_casts_in_them_do_not():
    base = digest(branches("p = Tanh (h)", "q = Relu (x)"))
    casts = "i = Cast<to = 10> (h) j = Tanh (i) p = Cast<to = 1> (j)"
    assert digest(branches(casts, "q = Relu (x)")) == base
    assert digest(branches("p = Tanh (x)", "q = Relu (x)")) != base
    assert digest(branches("p = Relu (x)", "q = Tanh (h)")) != base


def test_a_lazily_converted_weight_does_not_change_it():
    model = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 22]> g (float[2] x) => (float[2] y) <float[2] w = {1, 2}> {y = Mul(x, w)}'
    )
    loaded = load_proto(model)
    before = structure_digest(loaded)
    weight = loaded.graph.initializers["w"]
    weight.const_value = ConvertedTensor(weight.const_value, ir.DataType.FLOAT16)
    assert structure_digest(loaded) == before


def test_a_repeated_or_unread_cast_of_integers_to_floats_does_not_count():
    once = "g (int64[2] n) => (float[2] y) {a = Cast<to = 1> (n) y = Add (a, a)}"
    casts = "a = Cast<to = 1> (n) b = Cast<to = 10> (n) c = Cast<to = 1> (n)"
    more = f"g (int64[2] n) => (float[2] y) {{{casts} y = Add (a, c)}}"
    assert digest(once) == digest(more)


def test_integers_made_floats_are_another_source_than_the_integers():
    text = "g (int64[2] n) => ({}[2] y) {{y = Cast<to = {}> (n)}}"
    assert digest(text.format("float", 1)) != digest(text.format("int64", 7))
