"""The model of fusion: which nodes it puts into one kernel, and how many bytes cross between kernels."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx.parser
import onnx_ir as ir
import pytest

from autocast_core.engine.view import EngineView
from autocast_core.fusion import estimated_view, static_shapes
from autocast_core.fusion.grouping import _Grouping

HEADER = '<ir_version: 10, opset_import: ["" : 22]>'


def view(text: str) -> EngineView:
    """The estimate for a model whose inputs with names that begin with ``w_`` are weights."""
    proto = onnx.shape_inference.infer_shapes(onnx.parser.parse_model(HEADER + text))
    for value in [each for each in proto.graph.input if each.name.startswith("w_")]:
        kind = value.type.tensor_type
        array = np.ones([each.dim_value for each in kind.shape.dim])
        proto.graph.initializer.append(
            onnx.helper.make_tensor(value.name, kind.elem_type, array.shape, array.reshape(-1))
        )
        proto.graph.input.remove(value)
    model = ir.serde.deserialize_model(proto)
    return estimated_view(model, static_shapes(model, {}))


def kernels(text: str) -> list[str]:
    """The names of the nodes in each kernel, in the order in which they joined it."""
    return [" ".join(node.removeprefix("graph/") for node in kernel.nodes) for kernel in view(text).kernels]


PERCEPTRON = """
main (float16[8, 16] x, float16[8, 16] r, float16[16, 16] w_a, float16[16] w_b, float16[16] w_n)
=> (float16[8, 16] y, float16[8, 16] z) {{
    [product] a = MatMul (x, w_a)
    [bias] c = Add (a, w_b)
    {middle}
    [norm] y = LayerNormalization (s, w_n)
    [other] z = Softmax (s)
}}
"""


def test_a_product_takes_in_bias_activation_and_a_residual_that_others_read_too():
    middle = "[activate] t = Relu (c) [residual] s = Add (t, r)"
    assert kernels(PERCEPTRON.format(middle=middle)) == ["product bias activate residual", "norm", "other"]


def test_a_residual_sum_in_fp32_is_a_kernel_of_its_own_with_what_follows():
    middle = (
        "[up] u = Cast<to = 1> (c) [wide] v = Cast<to = 1> (r) [residual] t = Add (u, v) [down] s = Cast<to = 10> (t)"
    )
    assert kernels(PERCEPTRON.format(middle=middle)) == ["product", "bias residual norm", "other"]


def test_a_residual_that_a_normalization_alone_reads_goes_with_it():
    text = """
    main (float16[8, 16] x, float16[8, 16] r, float16[16, 16] w_a, float16[16] w_b, float16[16] w_n)
    => (float16[8, 16] y) {
        [product] a = MatMul (x, w_a)
        [bias] c = Add (a, w_b)
        [residual] s = Add (c, r)
        [norm] y = LayerNormalization (s, w_n)
    }
    """
    assert kernels(text) == ["product", "bias residual norm"]


def test_products_of_one_tensor_are_one_kernel_that_takes_in_nothing():
    text = """
    main (float16[8, 16] x, float16[16, 16] w_a, float16[16, 16] w_b)
    => (float16[8, 16] y, float16[8, 16] z) {
        [first] a = MatMul (x, w_a)
        [second] z = MatMul (x, w_b)
        [activate] y = Relu (a)
    }
    """
    assert kernels(text) == ["first second", "activate"]


CORE = """
main ({low}[1, 4, 128, 64] q, {low}[1, 4, 64, 128] k, {low}[1, 4, 128, 64] v, {low} w_s) => ({low}[1, 4, 128, 64] y) {{
    [qk] s = MatMul (q, k)
    {middle}
    [pv] y = MatMul (p, v)
}}
"""
PLAIN = "[scale] t = Mul (s, w_s) [soften] p = Softmax (t)"
SOFTMAX_ALONE = """[scale] t = Mul (s, w_s) [up] u = Cast<to = 1> (t) [soften] w = Softmax (u)
    [down] p = Cast<to = 10> (w)"""
WITH_SCALE = """[up] r = Cast<to = 1> (s) [wide] f = Cast<to = 1> (w_s) [scale] t = Mul (r, f)
    [soften] u = Softmax (t) [down] p = Cast<to = 10> (u)"""


@pytest.mark.parametrize(
    ("low", "middle", "fused"),
    [
        ("float16", PLAIN, 1),
        ("bfloat16", PLAIN, 1),
        ("float", PLAIN, 0),
        ("float16", SOFTMAX_ALONE, 1),
        ("float16", WITH_SCALE, 1),
        ("float16", "[scale] t = Mul (s, w_s) [cap] u = Tanh (t) [soften] p = Softmax (u)", 0),
    ],
)
def test_a_core_is_one_kernel_where_its_types_and_operators_allow_that(low, middle, fused):
    found = view(CORE.format(low=low, middle=middle))
    assert found.attention_fused == fused
    assert (len(found.kernels) == 1) == bool(fused)


def test_the_traffic_of_a_core_is_that_of_its_rim_and_its_operations_are_those_of_both_products():
    found = view(CORE.format(low="float16", middle=PLAIN))
    assert found.traffic_bytes == 4 * (4 * 128 * 64 * 2) + 2
    assert found.kernels[0].flops == 2 * 2 * 4 * 128 * 128 * 64


def test_what_a_cast_narrows_crosses_in_16_bits_and_what_fp32_nodes_share_in_32():
    text = """
    main (float16[64] x, float16[4, 64] w) => (float16[4, 64] y, float[64] z) {
        [up] a = Cast<to = 1> (x)
        [first] b = Softmax (a)
        [down] c = Cast<to = 10> (b)
        [second] d = Softmax (b)
        [move] z = Identity (d)
        [scale] y = Mul (w, c)
    }
    """
    found = view(text)
    assert [(kernel.nodes, kernel.read_bytes, kernel.written_bytes) for kernel in found.kernels] == [
        (("graph/first", "graph/scale"), 128 + 512, 512 + 256),
        (("graph/second",), 256, 256),
    ]


def test_nodes_that_depend_on_shapes_alone_and_reshapes_are_in_no_kernel():
    text = """
    main (float16[2, 8] x) => (float16[16] y) <int64[1] minus = {-1}> {
        [shape] s = Shape (x)
        [flat] f = Reshape (x, minus)
        [activate] y = Relu (f)
    }
    """
    found = view(text)
    assert [kernel.nodes for kernel in found.kernels] == [("graph/activate",)]
    assert found.without_kernel == {"graph/shape": "constant", "graph/flat": "layout"}


def test_sizes_behind_a_computed_range_are_known():
    text = """
    main (float16[n, 8] x) => (float[m] y) <int64 zero = {0}, int64 one = {1}> {
        [shape] s = Shape (x)
        [rows] r = Gather (s, zero)
        [range] i = Range (zero, r, one)
        [float] y = Cast<to = 1> (i)
    }
    """
    model = ir.serde.deserialize_model(onnx.parser.parse_model(HEADER + text))
    assert static_shapes(model, {"x": np.zeros((5, 8), np.float16)})["y"] == (5,)


def test_a_shape_that_is_not_known_leaves_the_bytes_unknown():
    text = """main (float16[n] x) => (float16[n] y) { [activate] y = Relu (x) }"""
    assert view(text).kernels[0].read_bytes is None


def residual_blocks(number: int) -> str:
    block = (
        "n{0} = LayerNormalization (s{0}, w_n) a{0} = MatMul (n{0}, w_a) b{0} = Add (a{0}, w_n) s{1} = Add (b{0}, s{0})"
    )
    blocks = "\n".join(block.format(place, place + 1) for place in range(number))
    return f"main (float[8, 16] s0, float[16, 16] w_a, float[16] w_n) => (float[8, 16] s{number}) {{ {blocks} }}"


def test_a_network_deeper_than_pythons_stack_has_its_kernels():
    assert len(kernels(residual_blocks(300))) == 600


def test_circles_are_sought_near_a_node_however_deep_the_network(monkeypatch):
    looked_at = Counter[int]()
    beside = _Grouping._beside
    for blocks in (50, 100):

        def counted(*args, blocks=blocks):
            looked_at[blocks] += 1
            return beside(*args)

        monkeypatch.setattr(_Grouping, "_beside", counted)
        kernels(residual_blocks(blocks))
    assert 0 < looked_at[100] < 2.1 * looked_at[50]


CAST_BEHIND = """
main (float16[n, 16] x) => (float16[n, 16] y) {
    [up] a = Cast <to = 1> (x)
    [compute] b = Erf (a)
    [down] y = Cast <to = 10> (b)
}
"""


def test_what_a_cast_reads_has_the_shape_of_what_it_gives():
    model = ir.serde.deserialize_model(onnx.parser.parse_model(HEADER + CAST_BEHIND))
    assert estimated_view(model, {"x": (4, 16), "y": (4, 16)}).traffic_bytes == 2 * 4 * 16 * 2


def test_a_core_of_nodes_without_names_is_one_kernel_under_names_of_their_own():
    text = """
    main (float16[1, 4, 32, 64] q, float16[1, 4, 64, 32] k, float16[1, 4, 32, 64] v) => (float16[1, 4, 32, 64] y) {
        s = MatMul (q, k) p = Softmax (s) y = MatMul (p, v)
    }
    """
    (kernel,) = view(text).kernels
    assert kernel.fused_attention
    assert sorted(kernel.nodes) == ["graph/MatMul_1", "graph/MatMul_2", "graph/Softmax_1"]
