"""Simulated insides of nodes beside an oracle in numpy that rounds after every 16 addends."""

from __future__ import annotations

from collections.abc import Callable

import ml_dtypes
import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import pytest

from autocast_core.model.reader import load_proto
from autocast_core.simulate import Accumulate, simulate
from tests.onnx_models import run_in_onnxruntime

Array = np.ndarray
FP16, BF16 = np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16)
OPERATORS = {FP16: "float16", BF16: "bfloat16"}


def rounded(values: Array, dtype: np.dtype) -> Array:
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(values, np.float32).astype(dtype).astype(np.float32)


def running(blocks: list[Array], dtype: np.dtype) -> Array:
    total = np.zeros_like(blocks[0])
    for block in blocks:
        total = rounded(total + block, dtype)
    return total


def sums(rows: Array, dtype: np.dtype) -> Array:
    """Row sums, [.., n] to [.., 1], rounded after every 16."""
    starts = range(0, rows.shape[-1], 16)
    return running([rows[..., start : start + 16].sum(-1, keepdims=True, dtype=np.float32) for start in starts], dtype)


def means(rows: Array, dtype: np.dtype) -> Array:
    return rounded(sums(rows, dtype) / np.float32(rows.shape[-1]), dtype)


def products(left: Array, right: Array, dtype: np.dtype) -> Array:
    starts = range(0, left.shape[-1], 16)
    return running([left[..., s : s + 16] @ right[..., s : s + 16, :] for s in starts], dtype)


def normal(rows: Array, dtype: np.dtype, epsilon: float = 1e-5, *, centred: bool = True) -> Array:
    if centred:
        rows = rounded(rows - means(rows, dtype), dtype)
    guarded = rounded(means(rounded(rows * rows, dtype), dtype) + rounded(np.array(epsilon), dtype), dtype)
    return rounded(rows / rounded(np.sqrt(guarded), dtype), dtype)


def softmax(rows: Array, dtype: np.dtype) -> Array:
    powers = rounded(np.exp(rows - rows.max(-1, keepdims=True)), dtype)
    return rounded(powers / sums(powers, dtype), dtype)


def result(
    nodes: str, feeds: dict[str, Array], mode: Accumulate, dtype: np.dtype = FP16, out: str = "y", opset: int = 22
) -> Array:
    """The simulated output of a model of one type, whose inputs are rounded to it."""
    kind = OPERATORS[dtype]
    inputs = ", ".join(f"{kind}[{','.join(map(str, value.shape))}] {name}" for name, value in feeds.items())
    text = f'<ir_version: 10, opset_import: ["" : {opset}]> main ({inputs}) => ({kind} {out}) {{ {nodes} }}'
    model = onnx.parser.parse_model(text.replace(f"({kind} {out})", f"({kind}[] {out})"))
    model.graph.output[0].type.tensor_type.ClearField("shape")
    simulated = simulate(load_proto(model), mode)
    found = run_in_onnxruntime(ir.to_proto(simulated), feeds)[0]
    return np.asarray(found)


def data(*shape: int, seed: int = 0, scale: float = 1.0, dtype: np.dtype = FP16) -> Array:
    return rounded(np.random.default_rng(seed).standard_normal(shape) * scale, dtype)


Oracle = Callable[[Array, np.dtype], Array]
X, ONE = data(3, 5, 40), np.ones(1, np.float32)


@pytest.mark.parametrize("dtype", [FP16, BF16], ids=["fp16", "bf16"])
@pytest.mark.parametrize(
    ("node", "oracle"),
    [
        ("LayerNormalization(x, one)", lambda x, t: normal(x, t)),
        ("RMSNormalization<axis=-1>(x, one)", lambda x, t: normal(x, t, centred=False)),
        ("ReduceMean(x, last)", lambda x, t: means(x, t)),
        ("ReduceMean<keepdims=0>(x, last)", lambda x, t: means(x, t)[..., 0]),
        ("ReduceSum(x, last)", lambda x, t: sums(x, t)),
        ("ReduceSum(x)", lambda x, t: sums(x.reshape(1, -1), t).reshape(1, 1, 1)),
        ("ReduceSum<keepdims=0>(x, ends)", lambda x, t: sums(x.transpose(1, 0, 2).reshape(5, -1), t)[:, 0]),
        ("ReduceSumSquare(x, last)", lambda x, t: sums(rounded(x * x, t), t)),
        ("ReduceL1(x, last)", lambda x, t: sums(np.abs(x), t)),
        ("ReduceL2(x, last)", lambda x, t: rounded(np.sqrt(sums(rounded(x * x, t), t)), t)),
        ("GlobalAveragePool(x)", lambda x, t: means(x, t)),
        (
            "LogSoftmax(x)",
            lambda x, t: rounded(np.log(rounded(np.exp(x - x.max(-1, keepdims=True)) / np.exp(
                x - x.max(-1, keepdims=True)).sum(-1, keepdims=True), t)), t),
        ),
    ],
)  # fmt: skip
def test_norms_and_reductions_in_their_own_type_are_those_of_the_oracle(node: str, oracle: Oracle, dtype: np.dtype):
    constants = "last = Constant<value = int64[1] {-1}>() ends = Constant<value = int64[2] {0, 2}>()"
    x = rounded(X, dtype)
    found = result(f"{constants} y = {node}", {"x": x, "one": ONE}, Accumulate.NATIVE, dtype, opset=23)
    np.testing.assert_allclose(found, oracle(x, dtype), rtol=2e-6 if "Log" not in node else 8e-3, atol=1e-7)


def test_a_group_norm_is_that_of_the_oracle():
    x, scale, bias = data(2, 4, 6, 7), data(4, seed=1), data(4, seed=2)
    nodes = "y = GroupNormalization<num_groups=2>(x, s, b)"
    found = result(nodes, {"x": x, "s": scale, "b": bias}, Accumulate.NATIVE)
    rows = normal(x.reshape(4, -1), FP16).reshape(x.shape)
    along = (1, 4, 1, 1)
    expected = rounded(rounded(rows * scale.reshape(along), FP16) + bias.reshape(along), FP16)
    np.testing.assert_array_equal(found, expected)


def test_an_instance_norm_is_that_of_the_oracle():
    x, scale, bias = data(2, 4, 6, 7), data(4, seed=1), data(4, seed=2)
    found = result("y = InstanceNormalization(x, s, b)", {"x": x, "s": scale, "b": bias}, Accumulate.NATIVE)
    rows = normal(x.reshape(8, -1), FP16).reshape(x.shape)
    along = (1, 4, 1, 1)
    expected = rounded(rounded(rows * scale.reshape(along), FP16) + bias.reshape(along), FP16)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("k", [1, 16, 40])
@pytest.mark.parametrize("batch", [(), (2,), (2, 3)])
def test_products_are_rounded_after_every_16(batch: tuple[int, ...], k: int):
    left, right = data(*batch, 3, k), data(*batch, k, 5, seed=1)
    found = result("y = MatMul(a, b)", {"a": left, "b": right}, Accumulate.FP16)
    np.testing.assert_allclose(found, products(left, right, FP16), rtol=1e-3, atol=1e-3)
    assert (found == products(left, right, FP16)).mean() > 0.9  # the order within a block may differ


def test_a_gemm_turns_and_adds_its_bias_in_fp32():
    a, b, c = data(40, 3), data(5, 40, seed=1), data(5, seed=2)
    found = result("y = Gemm<transA=1, transB=1>(a, b, c)", {"a": a, "b": b, "c": c}, Accumulate.FP16)
    np.testing.assert_allclose(found, rounded(products(a.T, b.T, FP16) + c, FP16), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("channels", "size", "deep"), [(6, 3, 1), (32, 1, 16), (12, 1, 12), (12, 2, 4)])
def test_a_convolution_is_rounded_after_every_block_of_channels(channels: int, size: int, deep: int):
    x, w = data(2, channels, 5, 6), data(4, channels, size, size, seed=1)
    found = result("y = Conv(x, w)", {"x": x, "w": w}, Accumulate.FP16)
    windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), (2, 3))
    blocks = [
        np.einsum("nchwij,mcij->nmhw", windows[:, s : s + deep], w[:, s : s + deep], dtype=np.float32)
        for s in range(0, channels, deep)
    ]
    np.testing.assert_allclose(found, running(blocks, FP16), rtol=2e-3, atol=2e-3)


def test_the_sum_of_a_softmax_is_fp16():
    x = data(3, 40)
    found = result("y = Softmax(x)", {"x": x}, Accumulate.FP16)
    np.testing.assert_allclose(found, softmax(x, FP16), rtol=1e-3)


def test_a_softmax_over_more_keys_than_fp16_can_count_gives_zeros():
    keys = np.zeros((1, 70_000), np.float32)
    assert result("y = Softmax(x)", {"x": keys}, Accumulate.FP32).min() > 0
    stuck = result("y = Softmax(x)", {"x": keys}, Accumulate.FP16)
    assert np.all(stuck == rounded(np.array(1 / 32768), FP16)) or np.all(stuck == 0)


@pytest.mark.parametrize("node", ["MatMul(x, x)", "Softmax(x)"])
def test_bf16_products_stay_in_fp32(node: str):
    x = data(40, 40, dtype=BF16)
    modes = (Accumulate.FP32, Accumulate.FP16)
    plain, bound = (result(f"y = {node}", {"x": x}, mode, BF16) for mode in modes)
    np.testing.assert_array_equal(plain, bound)


def test_a_mean_of_a_million_ones_overflows_on_its_way():
    x = np.full((1, 1, 1024, 1024), 2.0, np.float32)
    assert result("y = GlobalAveragePool(x)", {"x": x}, Accumulate.FP32).item() == 2.0
    assert result("y = GlobalAveragePool(x)", {"x": x}, Accumulate.NATIVE).item() != 2.0


def test_outlier_channels_ruin_a_layer_norm_in_fp16():
    x = data(4, 768)
    x[:, ::100] = 300
    nodes = "y = LayerNormalization(x, one)"
    plain, bound = (result(nodes, {"x": x, "one": ONE}, mode) for mode in (Accumulate.FP32, Accumulate.NATIVE))
    assert np.linalg.norm(bound - plain) > 0.5 * np.linalg.norm(plain)


def test_unlikely_classes_are_minus_infinity_where_log_softmax_is_two_steps():
    x = np.zeros((1, 200), np.float32)
    x[0, 0] = 30
    assert np.isfinite(result("y = LogSoftmax(x)", {"x": x}, Accumulate.FP32)).all()
    assert np.isneginf(result("y = LogSoftmax(x)", {"x": x}, Accumulate.NATIVE)[0, 1:]).all()


def test_nodes_in_fp32_are_left_alone():
    text = """
    <ir_version: 10, opset_import: ["" : 22]>
    main (float16[2,40] x) => (float16[1,1] y) { a = Cast<to=1>(x) b = ReduceMean(a) y = Cast<to=10>(b) }
    """
    simulated = simulate(load_proto(onnx.parser.parse_model(text)), Accumulate.FP16)
    assert "Scan" not in {node.op_type for node in simulated.graph}
    assert "ReduceMean" in {node.op_type for node in simulated.graph}


@pytest.mark.parametrize(
    ("nodes", "shapes", "expected"),
    [
        ("y = MatMul(a, b)", {"a": (3, 0), "b": (0, 5)}, (3, 5)),
        ("y = MatMul(a, b)", {"a": (2, 0, 4), "b": (4, 5)}, (2, 0, 5)),
        ("y = ReduceSum(a)", {"a": (3, 0)}, (1, 1)),
        ("y = LayerNormalization(a, b)", {"a": (3, 0, 8), "b": (8,)}, (3, 0, 8)),
        ("y = GroupNormalization<num_groups=2>(a, b, b)", {"a": (0, 4, 3), "b": (4,)}, (0, 4, 3)),
        ("y = Softmax(a)", {"a": (2, 0, 8)}, (2, 0, 8)),
    ],
)
def test_tensors_without_elements_are_summed_to_zeros(nodes, shapes, expected):
    found = result(nodes, {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}, Accumulate.FP16)
    np.testing.assert_array_equal(found, np.zeros(expected))


def test_a_model_of_an_old_opset_is_simulated_without_bounds():
    x = data(3, 40)
    plain, bound = (result("y = Softmax(x)", {"x": x}, mode, opset=11) for mode in (Accumulate.FP32, Accumulate.FP16))
    np.testing.assert_array_equal(plain, bound)
