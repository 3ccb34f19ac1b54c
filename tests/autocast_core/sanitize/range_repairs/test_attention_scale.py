"""The scale of attention scores in front of the product: when it moves, and that the result stays."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from tests.autocast_core.sanitize.range_repairs.repaired_models import LIMIT, every_value, inferred, repaired
from tests.onnx_models import operator_types, run_in_onnxruntime

HEADS, TOKENS = 2, 6
PRODUCT = "s = MatMul(q, k)"
SCALES = {
    "Mul": "t = Mul(s, c)",
    "Mul with the number first": "t = Mul(c, s)",
    "Div": "t = Div(s, d)",
    "an additive mask behind": "u = Mul(s, c) t = Add(u, m)",
    "a selecting mask behind": "u = Mul(s, c) t = Where(keep, u, low)",
    "a soft cap behind": "u = Mul(s, c) v = Div(u, cap) w = Tanh(v) t = Mul(w, cap)",
}


def attention(size: int, scale: float, behind: str, product: str = PRODUCT) -> onnx.ModelProto:
    shape = f"1, {HEADS}, {TOKENS}"
    return inferred(f"""
    <ir_version: 8, opset_import: ["" : 17]>
    core (float[{shape}, {size}] q, float[1, {HEADS}, {size}, {TOKENS}] k, float[{shape}, {size}] v0,
          float[1, 1, {TOKENS}, {TOKENS}] m, bool[1, 1, {TOKENS}, {TOKENS}] keep) => (float[{shape}, {size}] y)
    <float c = {{{scale!r}}}, float d = {{{1 / scale!r}}}, float low = {{-30000}}, float cap = {{30}}> {{
        {product}
        {behind}
        p = Softmax <axis = -1> (t)
        y = MatMul(p, v0)
    }}""")


def feeds(size: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Queries and keys whose products are over the limit, and whose scores are not."""
    rng = np.random.default_rng(seed)
    spread = (1.5 * LIMIT / size**0.5) ** 0.5
    shape = (1, HEADS, TOKENS, size)
    keep = np.tril(np.ones((1, 1, TOKENS, TOKENS), bool))
    return {
        "q": (spread * rng.normal(size=shape)).astype(np.float32),
        "k": (spread * rng.normal(size=shape)).astype(np.float32).swapaxes(2, 3),
        "v0": rng.normal(size=shape).astype(np.float32),
        "m": np.where(keep, 0, -30000).astype(np.float32),
        "keep": keep,
    }


@pytest.mark.parametrize("behind", SCALES.values(), ids=SCALES)
@pytest.mark.parametrize("size", [16, 64, 256])
def test_a_power_of_two_moves_without_changing_a_bit(size: int, behind: str) -> None:
    model, data = attention(size, size**-0.5, behind), feeds(size)
    changes, after, _ = repaired(model, data)
    assert [(each.step, each.nodes[0]) for each in changes] == [("attention_scale", "n_s")]
    assert sorted(operator_types(after)) == sorted(operator_types(model))
    (expected,), (found,) = run_in_onnxruntime(model, data), run_in_onnxruntime(after, data)
    assert np.array_equal(found, expected)
    values = every_value(after, data)
    assert np.abs(values["s"]).max() <= LIMIT < np.abs(every_value(model, data)["s"]).max()


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("size", "scale"), [(32, 32**-0.5), (80, 80**-0.5), (128, 0.0883)])
def test_another_scale_changes_scores_by_no_more_than_two_roundings_of_the_product(
    size: int, scale: float, seed: int
) -> None:
    model, data = attention(size, scale, "t = Mul(s, c)"), feeds(size, seed)
    changes, after, _ = repaired(model, data)
    assert len(changes) == 1
    difference = np.abs(every_value(after, data)["s"] - every_value(model, data)["t"])
    terms = np.abs(data["q"]).astype(np.float64) @ np.abs(data["k"]).astype(np.float64)
    assert (difference <= 2 * (size + 1) * 2.0**-24 * terms * scale).all()


def test_the_product_of_einsum_is_one_too() -> None:
    model = attention(64, 0.125, "t = Mul(s, c)", 's = Einsum <equation = "bhid,bhdj->bhij"> (q, k)')
    changes, after, _ = repaired(model, feeds(64))
    assert len(changes) == 1
    assert np.array_equal(run_in_onnxruntime(after, feeds(64))[0], run_in_onnxruntime(model, feeds(64))[0])


def test_what_is_known_of_the_moved_values_is_what_they_hold() -> None:
    model, data = attention(64, 0.125, "t = Mul(s, c)"), feeds(64)
    _, after, done = repaired(model, data)
    before, values = {**every_value(model, data), **data}, every_value(after, data)
    assert done.rescaled.keys() == {"q_scaled", "s"}
    for name, (source, factor) in done.rescaled.items():
        assert np.array_equal(values[name], before[source] * np.float32(factor))


@pytest.mark.parametrize(
    "behind",
    [
        "u = Mul(s, c) t = Add(u, s)",
        "t = Mul(s, d)",
        "u = Mul(s, c) z = Exp(u) t = Sqrt(z)",
    ],
    ids=["the product has another reader", "the scale enlarges", "no Softmax next to it"],
)
def test_other_products_are_left_alone(behind: str) -> None:
    assert repaired(attention(64, 0.125, behind), feeds(64))[0] == ()


def test_a_product_within_the_limit_is_left_alone() -> None:
    model, data = attention(64, 0.125, "t = Mul(s, c)"), feeds(64)
    assert repaired(model, {**data, "q": data["q"] / 8})[0] == ()


def test_scores_that_stay_over_the_limit_are_left_alone() -> None:
    model, data = attention(64, 0.125, "t = Mul(s, c)"), feeds(64)
    assert repaired(model, {**data, "q": data["q"] * 64})[0] == ()
