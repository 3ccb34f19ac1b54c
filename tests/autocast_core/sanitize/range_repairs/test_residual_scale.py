"""Residual streams in smaller numbers: that the result keeps its bits, and which streams are left alone."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import pytest

from tests.autocast_core.sanitize.range_repairs.repaired_models import LIMIT, every_value, inferred, repaired
from tests.onnx_models import operator_types, run_in_onnxruntime

WIDTH, HIDDEN, TOKENS = 8, 16, 6
NORMS = {
    "LayerNormalization": "{y} = LayerNormalization <epsilon = 0.001> ({x}, g, b)",
    "RMSNormalization": "{y} = RMSNormalization <epsilon = 0.001> ({x}, g)",
    "RMSNorm, as T5": """
        {y}_s = Pow({x}, two) {y}_m = ReduceMean(@s, last) {y}_e = Add({y}_m, eps) {y}_r = Sqrt({y}_e)
        {y}_i = Reciprocal({y}_r) {y}_n = Mul({x}, {y}_i) {y} = Mul(g, {y}_n)""",
    "RMSNorm, dividing": """
        {y}_s = Mul({x}, {x}) {y}_m = ReduceMean(@s, last) {y}_e = Add(eps, {y}_m) {y}_r = Sqrt({y}_e)
        {y}_n = Div({x}, {y}_r) {y} = Mul({y}_n, g)""",
    "LayerNorm, decomposed": """
        {y}_c = ReduceMean({x}, last) {y}_d = Sub({x}, {y}_c) {y}_s = Pow({y}_d, two) {y}_m = ReduceMean(@s, last)
        {y}_e = Add({y}_m, eps) {y}_r = Sqrt({y}_e) {y}_n = Div({y}_d, {y}_r)
        {y}_w = Mul({y}_n, g) {y} = Add({y}_w, b)""",
    "L2 norm": "{y}_n = ReduceL2({x}, last) {y} = Div({x}, {y}_n)",
}
BRANCHES = {
    "a bias": "{y}_u = MatMul({x}, up) {y}_a = Relu({y}_u) {y}_d = MatMul({y}_a, down) {y} = Add({y}_d, b)",
    "no bias": "{y}_u = MatMul({x}, up) {y}_a = Sigmoid({y}_u) {y} = MatMul({y}_a, down)",
    "a gate": """
        {y}_u = MatMul({x}, up) {y}_a = Sigmoid({y}_u) {y}_g = Mul({y}_u, {y}_a) {y} = MatMul({y}_g, down)""",
    "a scale of the layer": """
        {y}_u = MatMul({x}, up) {y}_a = Relu({y}_u) {y}_d = MatMul({y}_a, down) {y}_l = Mul(g, {y}_d)
        {y} = Identity({y}_l)""",
    "layout": """
        {y}_u = MatMul({x}, up) {y}_a = Relu({y}_u) {y}_d = MatMul({y}_a, down)
        {y}_t = Transpose <perm = [0, 2, 1]> ({y}_d) {y} = Transpose <perm = [0, 2, 1]> ({y}_t)""",
}


def numbers(values: np.ndarray) -> str:
    return "{" + ", ".join(f"{value:.8g}" for value in values.reshape(-1)) + "}"


def network(norms: list[str], branches: list[str], end: str, seed: int = 0, size: float = 3e4) -> onnx.ModelProto:
    """x_0 = x, x_n+1 = x_n + branch(norm(x_n)), then `end`; the branches' results are about `size`."""
    rng = np.random.default_rng(seed)
    weights = {
        f"float[{WIDTH}, {HIDDEN}] up": rng.normal(size=(WIDTH, HIDDEN)) / WIDTH**0.5,
        f"float[{HIDDEN}, {WIDTH}] down": size / HIDDEN**0.5 * rng.normal(size=(HIDDEN, WIDTH)),
        f"float[{WIDTH}] g": 1 + 0.3 * rng.normal(size=WIDTH),
        f"float[{WIDTH}] b": 0.3 * rng.normal(size=WIDTH),
        "float eps": np.array(1e-3),
        "float two": np.array(2.0),
    }
    lines = []
    for number, (norm, branch) in enumerate(zip(norms, branches, strict=True)):
        x, n, f = f"x{number}", f"n{number}", f"f{number}"
        lines += [norm.format(x=x, y=n).replace("@s", f"{n}_s"), branch.format(x=n, y=f)]
        lines.append(f"x{number + 1} = Add({x}, {f})")
    last = f"x{len(norms)}"
    held = ", ".join(f"{name} = {numbers(array)}" for name, array in weights.items())
    return inferred(f"""
    <ir_version: 10, opset_import: ["" : 23]>
    stream (float[2, {TOKENS}, {WIDTH}] x0) => (float[2, {TOKENS}, {WIDTH}] y)
    <{held}, int64[1] last = {{-1}}> {{ {" ".join(lines)} {end.format(x=last)} }}""")


def data(seed: int = 0) -> dict[str, np.ndarray]:
    return {"x0": np.random.default_rng(seed).normal(size=(2, TOKENS, WIDTH)).astype(np.float32)}


def norm(name: str, x: str = "{x}", y: str = "y") -> str:
    return NORMS[name].replace("@s", f"{y}_s").replace("{y}", y).replace("{x}", x)


def require_the_same_bits(before: onnx.ModelProto, after: onnx.ModelProto, feeds: Mapping[str, np.ndarray]) -> None:
    for expected, found in zip(run_in_onnxruntime(before, feeds), run_in_onnxruntime(after, feeds), strict=True):
        assert np.array_equal(expected, found)


@pytest.mark.parametrize("branch", BRANCHES)
@pytest.mark.parametrize("kind", NORMS)
def test_a_stream_into_norms_keeps_every_bit_and_comes_within_the_limit(kind: str, branch: str) -> None:
    model = network([NORMS[kind]] * 3, [BRANCHES[branch]] * 3, norm(kind))
    changes, after, done = repaired(model, data())
    assert [each.step for each in changes] == ["residual_scale"]
    require_the_same_bits(model, after, data())
    values = every_value(after, data())
    assert max(np.abs(values[name]).max() for name in ("x1", "x2", "x3")) <= LIMIT
    assert max(np.abs(values[name]).max() for name in ("x1", "x2", "x3")) > LIMIT / 2
    assert max(np.abs(values[name]).max() for name in ("f0", "f1", "f2")) <= LIMIT
    assert "x0_scaled" in done.rescaled


@pytest.mark.parametrize("seed", range(20))
def test_random_mixtures_keep_every_bit(seed: int) -> None:
    rng = np.random.default_rng(seed)
    layers = int(rng.integers(1, 6))
    norms, branches = (list(rng.choice(list(table), layers)) for table in (NORMS, BRANCHES))
    model = network(
        [NORMS[each] for each in norms],
        [BRANCHES[each] for each in branches],
        norm(str(rng.choice(list(NORMS)))),
        seed,
        float(10 ** rng.uniform(3, 5.5)),
    )
    changes, after, _ = repaired(model, data(seed))
    assert len(changes) == 1
    require_the_same_bits(model, after, data(seed))
    require_the_same_bits(model, after, {"x0": 10 * data(seed + 100)["x0"]})


@pytest.mark.parametrize("kind", NORMS)
def test_what_is_known_of_the_values_is_what_they_hold(kind: str) -> None:
    model = network([NORMS[kind]] * 2, [BRANCHES["a bias"]] * 2, norm(kind))
    _, after, done = repaired(model, data())
    before, values = {**every_value(model, data()), **data()}, every_value(after, data())
    for name, (source, factor) in done.rescaled.items():
        assert np.array_equal(values[name], before[source] * np.float32(factor)), name
    for name in values.keys() & before.keys() - done.rescaled.keys():
        assert np.array_equal(values[name], before[name]), name


def test_weights_and_the_constants_of_other_readers_stay() -> None:
    model = network([NORMS["RMSNorm, as T5"]] * 2, [BRANCHES["a bias"]] * 2, norm("LayerNormalization"))
    _, after, _ = repaired(model, data())
    held = [{each.name: onnx.numpy_helper.to_array(each) for each in m.graph.initializer} for m in (model, after)]
    for name in ("up", "down", "g", "b", "two"):
        assert np.array_equal(held[0][name], held[1][name])


def test_an_epsilon_that_all_norms_scale_leaves_no_unread_copy() -> None:
    model = network([NORMS["RMSNorm, as T5"]] * 2, [BRANCHES["no bias"]] * 2, norm("RMSNorm, as T5"))
    _, after, _ = repaired(model, data())
    read = {name for node in after.graph.node for name in node.input}
    assert {each.name for each in after.graph.initializer} - read == {"b"}


def test_a_reader_that_no_norm_stands_before_gets_the_values_back() -> None:
    end = f"{norm('RMSNormalization', y='n')} z = MatMul(n, up) p = MatMul({{x}}, up) q = Add(z, p) y = MatMul(q, down)"
    model = network([NORMS["RMSNormalization"]] * 2, [BRANCHES["no bias"]] * 2, end)
    changes, after, _ = repaired(model, data())
    assert len(changes) == 1
    require_the_same_bits(model, after, data())
    assert np.array_equal(every_value(after, data())["p"], every_value(model, data())["p"])


def test_the_operand_of_a_summand_that_is_small_enough_is_not_touched() -> None:
    model = network([NORMS["RMSNormalization"]] * 2, [BRANCHES["no bias"]] * 2, norm("RMSNormalization"), size=300.0)
    _, after, _ = repaired(model, data(), limit=400.0)
    makers = {node.output[0]: node for node in after.graph.node}
    for node in after.graph.node:
        if node.op_type == "MatMul" and node.input[1] == "down":
            scaled = makers[node.input[0]].op_type == "Mul"
            assert scaled == (np.abs(every_value(model, data())[node.output[0]]).max() > 400.0)


@pytest.mark.parametrize(
    ("end", "size"),
    [
        (norm("RMSNormalization"), 10.0),
        ("z = Relu({x}) y = Sigmoid(z)", 3e4),
        (norm("RMSNormalization", x="x1", y="z") + " y = Add({x}, z)", 3e4),
        (norm("RMSNormalization"), 1e8),
    ],
    ids=["within the limit", "no norm behind it", "a value of the stream is an output", "too many halvings"],
)
def test_other_sums_are_left_alone(end: str, size: float) -> None:
    model = network(["{y} = Tanh({x})"], [BRANCHES["no bias"]], end, size=size)
    changes, after, _ = repaired(model, data())
    assert changes == () and operator_types(after) == operator_types(model)


def test_the_scores_of_attention_with_a_mask_are_not_a_stream() -> None:
    model = inferred("""
    <ir_version: 8, opset_import: ["" : 17]>
    masked (float[2, 4, 4] s, float[2, 4, 4] m) => (float[2, 4, 4] y) { t = Add(s, m) y = Softmax(t) }""")
    feeds = {"s": np.ones((2, 4, 4), np.float32), "m": np.full((2, 4, 4), -3e4, np.float32)}
    assert repaired(model, feeds)[0] == ()


FORMS = {
    "Gemm": """
    <ir_version: 10, opset_import: ["" : 23]>
    net (float[6, 4] x) => (float[6, 4] y)
    <float[4, 4] w = {W}, float[4] b = {1, 2, 3, 4}, float[4] g = {1, 2, 1, 0.5}> {
        n = LayerNormalization (x, g)
        f = Gemm <transB = 1, alpha = 3.0, beta = 0.5> (n, w, b)
        s = Add(x, f)
        y = LayerNormalization (s, g)
    }""",
    "Conv": """
    <ir_version: 10, opset_import: ["" : 23]>
    net (float[2, 4, 6] x) => (float[2, 4, 6] y)
    <float[4, 4, 1] w = {W}, float[4] b = {1, 2, 3, 4}, float[4] g = {1, 2, 1, 0.5}> {
        n = InstanceNormalization (x, g, b)
        f = Conv(n, w, b)
        s = Add(x, f)
        y = InstanceNormalization (s, g, b)
    }""",
    "group norm": """
    <ir_version: 10, opset_import: ["" : 23]>
    net (float[2, 4, 6] x) => (float[2, 4, 6] y)
    <float[4, 4, 1] w = {W}, float[4] b = {1, 2, 3, 4}, float[4] g = {1, 2, 1, 0.5}, float[2, 4, 6] n> {
        n = GroupNormalization <num_groups = 2> (x, g, b)
        f = Conv(n, w)
        s = Add(f, x)
        y = GroupNormalization <num_groups = 2, epsilon = 0.1> (s, g, b)
    }""",
}


@pytest.mark.parametrize("form", FORMS)
def test_other_products_and_norms_keep_every_bit_too(form: str) -> None:
    rng = np.random.default_rng(3)
    model = inferred(FORMS[form].replace("{W}", numbers(1e4 * rng.normal(size=16))))
    shape = [each.dim_value for each in model.graph.input[0].type.tensor_type.shape.dim]
    feeds = {"x": rng.normal(size=shape).astype(np.float32)}
    changes, after, _ = repaired(model, feeds)
    assert [set(each.nodes) for each in changes] == [{"n_s", "n_f"}]
    require_the_same_bits(model, after, feeds)
    assert np.abs(every_value(after, feeds)["f"]).max() <= LIMIT


def test_a_stream_that_a_body_reads_is_left_alone() -> None:
    model = inferred(f"""
    <ir_version: 10, opset_import: ["" : 23]>
    net (float[4, 2] x, bool c) => (float[4, 2] y, float[4, 2] z) <float[2, 2] w = {numbers(1e4 * np.eye(2))}> {{
        f = MatMul(x, w)
        s = Add(x, f)
        y = LpNormalization (s)
        z = If (c) <then_branch = then () => (float[4, 2] a) {{ a = Relu(s) }},
                    else_branch = else () => (float[4, 2] b) {{ b = Neg(s) }}>
    }}""")
    feeds = {"x": np.ones((4, 2), np.float32), "c": np.array(True)}
    assert repaired(model, feeds)[0] == ()
