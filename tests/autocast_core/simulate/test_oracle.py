"""The simulation against an oracle in numpy and ml_dtypes: FP32 arithmetic, every stored tensor rounded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from autocast_core.backends.onnxruntime import OnnxRuntime
from autocast_core.config import Precision
from autocast_core.simulate import simulate

CPU = OnnxRuntime(threads=1)
LOW = [Precision.FP16, Precision.BF16]
ULP = {Precision.FP16: 2.0**-10, Precision.BF16: 2.0**-7}


def rounded(array: np.ndarray, precision: Precision) -> np.ndarray:
    with np.errstate(over="ignore", invalid="ignore"):
        return array.astype(precision.numpy).astype(np.float32)


def run(text: str, feeds: dict[str, np.ndarray], *, exact: bool = True) -> list[np.ndarray]:
    proto = onnx.parser.parse_model('<ir_version: 10, opset_import: ["" : 22]>' + text)
    model = simulate(ir.serde.deserialize_model(onnx.shape_inference.infer_shapes(proto)))
    onnx.checker.check_model(ir.serde.serialize_model(model), full_check=True)
    return CPU.open(model, exact=exact).run(feeds)


def assert_bit_equal(found: np.ndarray, expected: np.ndarray, *, signed_zeros: bool = True) -> None:
    same = (found.view(np.uint32) == expected.view(np.uint32)) | (np.isnan(found) & np.isnan(expected))
    if not signed_zeros:
        same |= (found == 0) & (expected == 0)
    assert same.all(), (found[~same], expected[~same])


def samples(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Pairs over the whole range of FP16 and beyond, ties, zeros, infinities and NaN included."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((2, 4000)) * 10.0 ** rng.uniform(-9, 6, (2, 4000))
    odd = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 65504.0, 65520.0, 2.0**-25, 3 * 2.0**-25, 1 + 2.0**-11])
    values[0, :100], values[1, :100] = np.repeat(odd, 10), np.tile(odd, 10)
    return values[0].astype(np.float32), values[1].astype(np.float32)


BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": np.divide,
}
UNARY: dict[str, Callable[[Any], Any]] = {
    "Neg": np.negative,
    "Abs": np.abs,
    "Sqrt": np.sqrt,
    "Floor": np.floor,
    "Reciprocal": np.reciprocal,
    "Identity": lambda x: x,
    "Cast <to = 1>": lambda x: x,
}
COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "Less": np.less,
    "Equal": np.equal,
    "GreaterOrEqual": np.greater_equal,
}


def kind(precision: Precision) -> str:
    return {Precision.FP16: "float16", Precision.BF16: "bfloat16"}[precision]


@pytest.mark.parametrize("precision", LOW)
@pytest.mark.parametrize("op", BINARY)
@pytest.mark.parametrize("exact", [True, False])
def test_binary_operators_are_bit_equal(op: str, precision: Precision, exact: bool) -> None:
    a, b = samples()
    t = kind(precision)
    (found,) = run(f"g ({t}[N] a, {t}[N] b) => ({t}[N] y) {{ y = {op}(a, b) }}", {"a": a, "b": b}, exact=exact)
    with np.errstate(all="ignore"):
        expected = rounded(BINARY[op](rounded(a, precision), rounded(b, precision)), precision)
    assert_bit_equal(found, expected)


@pytest.mark.parametrize("precision", LOW)
@pytest.mark.parametrize("op", UNARY)
def test_unary_operators_are_bit_equal(op: str, precision: Precision) -> None:
    a, _ = samples()
    t = kind(precision)
    out = "float" if "Cast" in op else t
    (found,) = run(f"g ({t}[N] a) => ({out}[N] y) {{ y = {op}(a) }}", {"a": a})
    with np.errstate(all="ignore"):
        assert_bit_equal(found, rounded(UNARY[op](rounded(a, precision)), precision))


@pytest.mark.parametrize("precision", LOW)
@pytest.mark.parametrize("op", COMPARISONS)
def test_comparisons_decide_as_on_rounded_values(op: str, precision: Precision) -> None:
    a, _ = samples()
    b = (a * np.float32(1 + 2.0**-9)).astype(np.float32)
    t = kind(precision)
    (found,) = run(f"g ({t}[N] a, {t}[N] b) => (bool[N] y) {{ y = {op}(a, b) }}", {"a": a, "b": b})
    with np.errstate(all="ignore"):
        assert np.array_equal(found, COMPARISONS[op](rounded(a, precision), rounded(b, precision)))


@pytest.mark.parametrize("precision", LOW)
@pytest.mark.parametrize(
    ("nodes", "oracle"),
    [
        ("y = Transpose<perm = [1, 0]>(a)", lambda a: a.T),
        ("y = Concat<axis = 0>(a, a)", lambda a: np.concatenate([a, a])),
        ("i = Constant<value = int64[2] {3, 1}>() y = Gather(a, i)", lambda a: a[[3, 1]]),
        ("y = Relu(a)", lambda a: np.where(np.isnan(a), a, np.maximum(a, 0))),
        ("z = CastLike(b, a) y = Where(c, a, z)", lambda a: np.where(np.arange(100) % 2 == 0, a, 7)),
        ("i = Constant<value = int64[1] {-1}>() y = Reshape(a, i)", lambda a: a.reshape(-1)),
    ],
)
def test_data_movement_is_bit_equal(nodes: str, oracle: Callable[[Any], Any], precision: Precision) -> None:
    a = samples()[0].reshape(40, 100)
    t = kind(precision)
    text = f"g ({t}[40, 100] a, float b, bool[100] c) => ({t}[M, N] y) {{ {nodes} }}"
    if "Reshape" in nodes:
        text = text.replace("[M, N]", "[M]")
    (found,) = run(text, {"a": a, "b": np.array(7, np.float32), "c": np.arange(100) % 2 == 0})
    # ONNX Runtime's FP32 kernels of Relu and Where do not keep the sign of a zero.
    expected = np.ascontiguousarray(oracle(rounded(a, precision)), np.float32)
    assert_bit_equal(found, expected, signed_zeros="Relu" not in nodes and "Where" not in nodes)


@pytest.mark.parametrize("precision", LOW)
@pytest.mark.parametrize(
    ("nodes", "shape"),
    [("y = MatMul(a, b)", (8, 6)), ("y = Gemm(a, b)", (8, 6)), ("z = MatMul(a, b) y = ReduceSum(z)", (1, 1))],
)
def test_sums_of_small_integers_are_bit_equal(nodes: str, shape: tuple[int, int], precision: Precision) -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-3, 4, size).astype(np.float32) for size in ((8, 30), (30, 6)))
    t = kind(precision)
    (found,) = run(f"g ({t}[8, 30] a, {t}[30, 6] b) => ({t}[M, N] y) {{ {nodes} }}", {"a": a, "b": b})
    product = rounded(a @ b, precision)
    expected = rounded(product.sum(keepdims=True), precision) if "ReduceSum" in nodes else product
    assert found.shape == shape
    assert_bit_equal(found, expected)


@pytest.mark.parametrize("precision", LOW)
@pytest.mark.parametrize("op", ["Exp", "Sigmoid", "Tanh", "Softmax", "MatMul"])
def test_elsewhere_at_most_one_ulp_on_at_most_half_a_percent(op: str, precision: Precision) -> None:
    rng = np.random.default_rng(1)
    # Positive factors: where a sum cancels, the order of its addends decides about more than an ulp.
    a, b = (np.abs(rng.standard_normal((200, 200))).astype(np.float32) for _ in range(2))
    t = kind(precision)
    call = "MatMul(a, b)" if op == "MatMul" else f"{op}(a)"
    (found,) = run(f"g ({t}[200, 200] a, {t}[200, 200] b) => ({t}[200, 200] y) {{ y = {call} }}", {"a": a, "b": b})
    a, b = rounded(a, precision).astype(np.float64), rounded(b, precision).astype(np.float64)
    exponentials = np.exp(a)
    exact = {
        "Exp": exponentials,
        "Sigmoid": 1 / (1 + np.exp(-a)),
        "Tanh": np.tanh(a),
        "Softmax": exponentials / exponentials.sum(axis=-1, keepdims=True),
        "MatMul": a @ b,
    }[op]
    expected = rounded(exact.astype(np.float32), precision)
    different = found != expected
    assert different.mean() <= 0.005
    assert (np.abs(found - expected) <= np.abs(expected) * ULP[precision]).all()


def test_a_chain_that_overflows_in_fp16_is_infinite_there_and_only_there() -> None:
    text = """
    g (float[N] x) => (float[N] y) {
        h = Cast<to = 10>(x)
        k = Constant<value = float {1000}>()
        t = CastLike(k, h)
        a = Mul(h, t) b = Mul(a, t) c = Div(b, t) d = Div(c, t)
        y = Cast<to = 1>(d)
    }"""
    x = np.array([1.0, -2.0], np.float32)
    assert run(text, {"x": x})[0].tolist() == [np.inf, -np.inf]
    assert np.allclose(run(text.replace("to = 10", "to = 16"), {"x": x})[0], x, rtol=2e-2)


STEPS = st.lists(
    st.tuples(
        st.sampled_from([*BINARY, "Neg", "Abs", "Cast"]), st.integers(0, 99), st.integers(0, 99), st.sampled_from(LOW)
    ),
    min_size=1,
    max_size=12,
)
VALUES = npst.arrays(np.float32, (2, 6), elements=st.floats(width=32))


@settings(max_examples=60, deadline=None)
@given(STEPS, VALUES)
def test_random_graphs_of_both_precisions_are_bit_equal(
    steps: list[tuple[str, int, int, Precision]], values: np.ndarray
) -> None:
    nodes, oracle = [], [(rounded(values[0], LOW[0]), LOW[0]), (rounded(values[1], LOW[1]), LOW[1])]
    with np.errstate(all="ignore"):
        for number, (op, left, right, wanted) in enumerate(steps, 2):
            i, j = left % len(oracle), right % len(oracle)
            a, precision = oracle[i]
            if op == "Cast":
                nodes.append(f"v{number} = Cast<to = {int(wanted.dtype)}>(v{i})")
                oracle.append((rounded(a, wanted), wanted))
            elif op in UNARY:
                nodes.append(f"v{number} = {op}(v{i})")
                oracle.append((rounded(UNARY[op](a), precision), precision))
            else:
                nodes.append(f"w{number} = CastLike(v{j}, v{i}) v{number} = {op}(v{i}, w{number})")
                oracle.append((rounded(BINARY[op](a, rounded(oracle[j][0], precision)), precision), precision))
    last = len(oracle) - 1
    text = f"g (float16[6] v0, bfloat16[6] v1) => ({kind(oracle[-1][1])}[6] v{last}) {{ {' '.join(nodes)} }}"
    (found,) = run(text, {"v0": values[0], "v1": values[1]})
    assert_bit_equal(found, oracle[-1][0])


def softmax(x: np.ndarray) -> np.ndarray:
    exponentials = np.exp(x - x.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


DEEP: dict[str, Callable[..., Any]] = {
    "MatMul": np.matmul,
    "Add": np.add,
    "Tanh": np.tanh,
    "Sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "Softmax": softmax,
    "Relu": lambda x: np.maximum(x, 0),
}
SQUASHES = ("Tanh", "Sigmoid", "Softmax")
ROWS, SIZE = 256, 8


def deep_graph(rng: np.random.Generator, depth: int) -> list[tuple[str, tuple[int, ...]]]:
    """Operators with the earlier values that they read; 0 is the input, 1 and 2 are weights.

    What squashes its input follows a MatMul, as in networks: a chain of them ends in so few numbers of 16 bits that one
    of them, rounded the other way for FP32's last bit, decides about the whole tensor. Likewise nothing is subtracted
    again, no products of products let a few elements outweigh all others, and sums are short.
    """
    steps: list[tuple[str, tuple[int, ...]]] = []
    for last in range(2, depth + 2):
        squashable = bool(steps) and steps[-1][0] == "MatMul"
        op = str(rng.choice([op for op in DEEP if squashable or op not in SQUASHES]))
        newest = 0 if last == 2 else last
        binary = op in ("MatMul", "Add")
        earlier = [0, *range(3, last + 1)]
        other = int(rng.choice([1, 2] if op == "MatMul" else earlier))
        steps.append((op, (newest, other) if binary else (newest,)))
    return steps


def computed(steps: list[tuple[str, tuple[int, ...]]], values: list[np.ndarray], precision: Precision | None) -> Any:
    """The last value; with a precision every stored tensor is rounded to it, sums and functions are in FP32."""
    stored = [value if precision is None else rounded(value, precision) for value in values]
    for op, reads in steps:
        result = DEEP[op](*(stored[index] for index in reads)).astype(np.float32)
        stored.append(result if precision is None else rounded(result, precision))
    return stored[-1].astype(np.float64)


# integers() also tries constants of whatever modules are loaded; the bound is not one for every seed.
@pytest.mark.parametrize("precision", LOW)
@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.sampled_from(range(2**32)), st.sampled_from(range(2, 15)))
def test_in_deeper_graphs_the_simulation_is_ten_times_nearer_to_the_oracle_than_to_fp32(
    precision: Precision, seed: int, depth: int
) -> None:
    rng = np.random.default_rng(seed)
    steps = deep_graph(rng, depth)
    values = [
        rng.standard_normal((rows, SIZE)).astype(np.float32) / np.float32(SIZE**0.5) for rows in (ROWS, SIZE, SIZE)
    ]
    nodes = " ".join(f"v{n} = {op}({', '.join(f'v{i}' for i in reads)})" for n, (op, reads) in enumerate(steps, 3))
    last = len(steps) + 2
    t, weight = kind(precision), f"[{SIZE}, {SIZE}]"
    text = f"g ({t}[N, {SIZE}] v0, {t}{weight} v1, {t}{weight} v2) => ({t}[N, {SIZE}] v{last}) {{ {nodes} }}"
    (found,) = run(text, {f"v{number}": value for number, value in enumerate(values)})
    oracle, exact = computed(steps, values, precision), computed(steps, values, None)
    error = np.linalg.norm(found - exact)
    assert np.linalg.norm(found - oracle) <= max(0.1 * error, 1e-7 * np.linalg.norm(exact))


def test_the_oracle_rounds_as_ieee_says() -> None:
    assert rounded(np.array([65520.0, 2.0**-25], np.float32), Precision.FP16).tolist() == [np.inf, 0.0]
    assert float(ml_dtypes.bfloat16(1 + 2.0**-8)) == 1.0
