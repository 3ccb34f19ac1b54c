"""Which constant is the bias of a product."""

from __future__ import annotations

import onnx
import onnx_ir as ir
import pytest

from autocast_core.operators.biases import bias_of

HEAD = '<ir_version: 10, opset_import: ["" : 18]> g (float[2, 3] x) => (float[2, 4] y) <float[4] b = {1, 2, 3, 4},'
WEIGHT = " float[3, 4] w = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}>"


def graph_of(text: str) -> ir.Graph:
    return ir.serde.deserialize_model(onnx.parser.parse_model(text)).graph


def bias_in(text: str) -> tuple[str | None, int] | None:
    """The node that holds the bias of the first product, and the input's number."""
    found = bias_of(next(node for node in graph_of(text) if node.op_type in ("MatMul", "Gemm", "Conv")))
    return None if found is None else (found.reader.name, found.position)


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ("[product] a = MatMul(x, w) [sum] y = Add(a, b)", ("sum", 1)),
        ("[product] a = MatMul(x, w) [sum] y = Add(b, a)", ("sum", 0)),
        ("[product] y = Gemm(x, w, b)", ("product", 2)),
        ("[product] y = Gemm <beta = 0.5> (x, w, b)", None),
        ("[product] y = Gemm(x, w)", None),
        ("[product] a = MatMul(x, w) [sum] c = Add(a, b) [other] y = Mul(a, c)", None),
        ("[product] a = MatMul(x, w) [sum] y = Sub(a, b)", None),
    ],
)
def test_a_bias_is_a_constant_that_is_added_to_the_product_alone(nodes: str, expected: tuple[str, int] | None) -> None:
    assert bias_in(f"{HEAD}{WEIGHT} {{ {nodes} }}") == expected


def test_a_transposed_weight_tells_the_channels_by_its_rows() -> None:
    weight = " float[4, 3] w = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}>"
    assert bias_in(f"{HEAD}{weight} {{ [product] y = Gemm <transB = 1> (x, w, b) }}") == ("product", 2)


def test_a_product_of_two_activations_has_no_bias() -> None:
    text = f"{HEAD.replace('float[2, 3] x', 'float[2, 3] x, float[3, 4] w')[:-1]}>"
    assert bias_in(f"{text} {{ [product] a = MatMul(x, w) [sum] y = Add(a, b) }}") is None
