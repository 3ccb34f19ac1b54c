"""Quantized models: Q→DQ pairs stay intact and adjacent, scales follow the opset's rules (edge cases 36, 46, 61)."""

import numpy as np
import onnx
import onnx.helper as helper
import pytest

X = np.linspace(-1, 1, 16, dtype=np.float32).reshape(2, 8)

INT8 = """g (float[2,8] x) => (float[2,4] y) <float xs = {0.0078125}, int8 xz = {0}, float ys = {0.0625}> {
  a = Relu(x)
  q = QuantizeLinear(a, xs, xz) d = DequantizeLinear(q, xs, xz)
  w = DequantizeLinear<axis = 1>(wq, ws, wz)
  m = MatMul(d, w)
  mq = QuantizeLinear(m, ys, xz) md = DequantizeLinear(mq, ys, xz)
  y = Exp(md)
}"""


def int8_model(opset: int, per_channel: bool) -> onnx.ModelProto:
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": {opset}]> {INT8}')
    rng = np.random.default_rng(0)
    scale = np.array([0.01, 0.02, 0.015, 0.03], np.float32) if per_channel else np.array(0.02, np.float32)
    for name, array in (
        ("wq", rng.integers(-100, 100, (8, 4)).astype(np.int8)),
        ("ws", scale),
        ("wz", np.zeros(scale.shape, np.int8)),
    ):
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    return model


def assert_pairs_intact(found) -> None:
    """Every DequantizeLinear reads a constant or, directly, a QuantizeLinear with the same scale and zero point."""
    producers = {name: node for node in found.after.graph.node for name in node.output}
    for node in found.nodes("DequantizeLinear"):
        source = producers.get(node.input[0])
        if source is not None:
            assert source.op_type == "QuantizeLinear"
            assert list(source.input)[1:] == list(node.input)[1:]


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("opset", [13, 17, 19, 21])
@pytest.mark.parametrize("keep", [False, True])
def test_int8_pairs_stay_intact(convert, opset, per_channel, keep):
    found = convert(int8_model(opset, per_channel), {"x": X}, keep_io_types=keep)
    assert {each.domain: each.version for each in found.after.opset_import} == {"": max(opset, 19)}
    assert_pairs_intact(found)
    assert {str(decision.precision) for decision in found.conversion.plan.nodes} == {"fp16"}
    assert len(found.nodes("Cast")) == (2 if keep else 0)
    assert found.initializer("wq").dtype == np.int8
    found.assert_close(tolerance=2e-2)


@pytest.mark.parametrize("per_channel", [False, True])
def test_int8_pairs_stay_intact_in_bf16(convert, per_channel):
    found = convert(int8_model(17, per_channel), {"x": X}, "bf16")
    assert_pairs_intact(found)
    assert found.type_of("xs") == "bfloat16"
    found.assert_close(tolerance=0.1)


@pytest.mark.parametrize("kept", ["Relu", "MatMul", "Exp"])
def test_pairs_stay_intact_beside_an_fp32_node(convert, kept):
    """No Cast stands between a QuantizeLinear and its DequantizeLinear"""
    found = convert(int8_model(19, True), {"x": X}, op_types_to_exclude=(kept,))
    assert_pairs_intact(found)
    found.assert_close(tolerance=2e-2)


def test_scales_too_small_for_fp16_keep_their_pair_in_fp32(convert):
    model = int8_model(19, False)
    scale = next(tensor for tensor in model.graph.initializer if tensor.name == "xs")
    scale.CopyFrom(onnx.numpy_helper.from_array(np.array(1e-8, np.float32), "xs"))
    found = convert(model, {"x": X * 1e-6})
    assert found.initializer("xs").dtype == np.float32
    assert_pairs_intact(found)


FP8 = """g (float[2,8] x) => (float[2,8] y) <float s = {0.0625}> {
  q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) y = Exp(d)
}"""


@pytest.mark.parametrize("kind", ["FLOAT8E4M3FN", "FLOAT8E5M2"])
@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_fp8_pairs_stay_intact(convert, kind, precision):
    model = onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["": 19]> {FP8}')
    model.graph.initializer.append(helper.make_tensor("z", getattr(onnx.TensorProto, kind), [], [0.0]))
    found = convert(model, {"x": X}, precision)
    assert_pairs_intact(found)
    assert found.type_of("q") == kind.lower()
    found.assert_close(tolerance=3e-2)


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
@pytest.mark.parametrize("keep", [False, True])
def test_block_wise_int4_weights_stay_packed(convert, precision, keep):
    model = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["": 21]> g (float[2,8] x) => (float[2,4] y) {
          w = DequantizeLinear<axis = 0, block_size = 4>(wq, ws, wz) m = MatMul(x, w) y = Exp(m)
        }"""
    )
    rng = np.random.default_rng(0)
    packed = helper.make_tensor("wq", onnx.TensorProto.INT4, [8, 4], rng.integers(-8, 7, 32).tolist())
    zero = helper.make_tensor("wz", onnx.TensorProto.INT4, [2, 4], [0] * 8)
    scales = onnx.numpy_helper.from_array(rng.uniform(0.01, 0.1, (2, 4)).astype(np.float32), "ws")
    model.graph.initializer.extend([packed, zero, scales])
    found = convert(model, {"x": X}, precision, keep_io_types=keep)
    assert {each.domain: each.version for each in found.after.opset_import}[""] == (21 if precision == "fp16" else 22)
    assert next(tensor for tensor in found.after.graph.initializer if tensor.name == "wq") == packed
    assert found.type_of("ws") == ("float16" if precision == "fp16" else "bfloat16")
    assert len(found.nodes("Cast")) == (2 if keep else 0)
    found.assert_close(tolerance=1e-2 if precision == "fp16" else 6e-2)
