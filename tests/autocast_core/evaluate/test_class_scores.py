"""Which outputs hold scores of classes: by what computes them, by name, by the user's word."""

from __future__ import annotations

import onnx.parser
import onnx_ir as ir
import pytest

from autocast_core.errors import ConfigError
from autocast_core.evaluate import class_score_outputs


def outputs(text: str, named: tuple[str, ...] = (), opset: int = 17) -> frozenset[str]:
    header = f'<ir_version: 8, opset_import: ["" : {opset}]>'
    return class_score_outputs(ir.serde.deserialize_model(onnx.parser.parse_model(f"{header} {text}")), named)


WEIGHTS = "<float[2, 2] w = {1, 2, 3, 4}, float[2] b = {1, 2}>"


def linear(name: str) -> str:
    return f"""agraph (float[n, 2] x) => (float[n, 2] {name}) {WEIGHTS} {{
        product = MatMul(x, w)
        {name} = Add(b, product)
    }}"""


def test_a_last_linear_layer_gives_class_scores() -> None:
    assert outputs(linear("y")) == {"y"}
    gemm = f"agraph (float[n, 2] x) => (float[n, 2] y) {WEIGHTS} {{ z = Gemm(x, w, b) y = Identity(z) }}"
    assert outputs(gemm) == {"y"}


@pytest.mark.parametrize("name", ["embedding", "pred_boxes", "image_features", "pooled", "last_hidden_state"])
def test_a_linear_layer_whose_output_is_called_something_else_does_not(name: str) -> None:
    assert outputs(linear(name)) == set()


def test_a_matrix_that_another_operator_gives_has_no_classes() -> None:
    assert outputs("agraph (float[n, 8] x) => (float[n, 8] y) { y = Sigmoid(x) }") == set()
    assert outputs("agraph (float[n, 8] x, float[8, 4] k) => (float[n, 4] y) { y = MatMul(x, k) }") == set()
    normalised = f"""agraph (float[n, 2] x) => (float[n, 2] y) {WEIGHTS} {{
        z = MatMul(x, w)
        y = LpNormalization(z)
    }}"""
    assert outputs(normalised) == set()


@pytest.mark.parametrize(
    ("shape", "operator", "opset", "holds"),
    [
        ("n, 10", "Softmax", 17, True),
        ("n, 10", "LogSoftmax <axis = 1>", 17, True),
        ("n, 10", "Softmax <axis = 0>", 17, False),
        ("n, t, 10", "Softmax <axis = -1>", 17, True),
        ("n, t, 10", "Softmax <axis = 1>", 17, False),
        ("n, h, t, t", "Softmax <axis = -1>", 17, False),
        ("n, 10", "Softmax", 11, True),
    ],
)
def test_a_distribution_over_the_last_dimension_gives_class_scores_unless_it_is_attention(
    shape: str, operator: str, opset: int, holds: bool
) -> None:
    found = outputs(f"agraph (float[{shape}] x) => (float[{shape}] y) {{ y = {operator}(x) }}", opset=opset)
    assert found == ({"y"} if holds else set())


def test_a_name_says_so_whatever_computes_it() -> None:
    text = """agraph (float[n, t, 8] x)
        => (float[n, t, 8] start_logits, float[n, t, 8] Probabilities, float[n, t, 8] z) {
        start_logits = Relu(x)
        Probabilities = Relu(x)
        z = Relu(x)
    }"""
    assert outputs(text) == {"start_logits", "Probabilities"}


def test_the_users_word_counts_alone() -> None:
    text = "agraph (float[n, 8] x) => (float[n, 8] logits, float[n, 8] y) { logits = Relu(x) y = Relu(x) }"
    assert outputs(text, named=("y",)) == {"y"}
    with pytest.raises(ConfigError, match="class_outputs: no output 'z'; the outputs are logits, y"):
        outputs(text, named=("z",))
