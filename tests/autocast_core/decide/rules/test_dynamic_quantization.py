"""Models whose products compute in integers with activations that are quantized as the model runs."""

import logging
from collections import Counter

import numpy as np
import onnx
import onnx.parser
import pytest

from autocast_core import ConversionConfig, Precision, convert_file
from tests.onnx_models import run_in_onnxruntime

DENSE = "{0}q, {0}s, {0}z = DynamicQuantizeLinear({0}) {0}i = MatMulInteger({0}q, w, {0}z) {0}f = Cast<to = 1>({0}i) "
DENSE += "{0}k = Mul({0}s, ws) {1} = Mul({0}f, {0}k) "
WEIGHTS = "int8[4,4] w = {1,2,3,4,5,6,7,8,9,8,7,6,5,4,3,2}, float ws = {0.01}, float[4] b = {1,2,3,4}"


def test_elementwise_nodes_between_integer_products_are_kept(plan):
    found = plan(
        f"g (float[n,4] x) => (float[n,4] y) <{WEIGHTS}> {{ {DENSE.format('x', 'a')} c = Add(a, b) r = Relu(c) "
        f"{DENSE.format('r', 'd')} y = Softmax(d) }}"
    )
    rule_of = Counter((each.op_type, each.rule) for each in found.nodes)
    assert {str(each.precision) for each in found.nodes} == {"fp32", "none"}
    assert rule_of["Add", "dynamic_quantization"] == rule_of["Softmax", "dynamic_quantization"] == 1
    assert "nothing was converted" in found.nothing_lowered()
    assert "dynamic_quantization" in found.nothing_lowered()


def test_float_products_and_what_lies_between_them_are_lowered(plan):
    """As in a transformer: projections in integers, attention's own products in floats."""
    found = plan(
        f"g (float[n,4] x) => (float[n,4] y) <{WEIGHTS}> {{ {DENSE.format('x', 'v')} t = Transpose(v) "
        "a = MatMul(v, t) p = Softmax(a) o = MatMul(p, v) l = Add(o, b) "
        f"{DENSE.format('l', 'd')} y = Relu(d) }}"
    )
    low = [each.op_type for each in found.nodes if each.precision.is_low]
    assert low == ["MatMul", "Softmax", "MatMul"]


def test_a_reader_of_large_weights_is_lowered_and_what_follows_it_alone_is_kept(tmp_path):
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 17]> g (int64[n] i) => (float[n,4] y) '
        f"<{WEIGHTS}> {{ e = Gather(table, i) x = Add(e, b) {DENSE.format('x', 'a')} y = Relu(a) }}"
    )
    table = np.random.default_rng(0).standard_normal((8192, 4)).astype(np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(table, "table"))
    onnx.save(model, tmp_path / "m.onnx")
    done = convert_file(tmp_path / "m.onnx", tmp_path / "out.onnx")
    assert [each.op_type for each in done.plan.nodes if each.precision.is_low] == ["Gather"]
    assert (tmp_path / "out.onnx").stat().st_size < 0.6 * (tmp_path / "m.onnx").stat().st_size


def test_include_options_lower_such_nodes(plan):
    text = f"g (float[n,4] x) => (float[n,4] y) <{WEIGHTS}> {{ {DENSE.format('x', 'a')} y = Relu(a) }}"
    found = plan(text, op_types_to_include=("Relu",))
    assert [each.op_type for each in found.nodes if each.precision.is_low] == ["Relu"]


def test_models_of_quantizers_with_fixed_scales_are_not_looked_at(plan):
    text = """g (float[n,4] x) => (float[n,4] y) <float s = {0.1}, int8 z = {0}> {
      q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) y = Relu(d) }"""
    assert {str(each.precision) for each in plan(text).nodes} == {"fp16"}


@pytest.mark.parametrize("precision", [Precision.FP16, Precision.BF16])
def test_what_quantize_dynamic_makes_gets_no_casts(tmp_path, precision):
    quantization = pytest.importorskip("onnxruntime.quantization")
    random = np.random.default_rng(0)
    nodes, current = [], "x"
    weights = {"b": random.standard_normal(16)}
    for layer in "pqr":
        weights[f"w{layer}"] = random.standard_normal((16, 16)) / 4
        nodes.append(
            f"m{layer} = MatMul({current}, w{layer}) a{layer} = Add(m{layer}, b) r{layer} = Relu(a{layer}) "
            f"s{layer} = Add(r{layer}, {current})"
        )
        current = f"s{layer}"
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 17]> g (float[n,16] x) => (float[n,16] y) '
        f"{{ {' '.join(nodes)} y = Softmax({current}) }}"
    )
    for name, array in weights.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(array.astype(np.float32), name))
    onnx.save(model, tmp_path / "m.onnx")
    logging.disable(logging.WARNING)  # it advises to preprocess the model
    try:
        quantization.quantize_dynamic(tmp_path / "m.onnx", tmp_path / "q.onnx")
    finally:
        logging.disable(logging.NOTSET)
    done = convert_file(tmp_path / "q.onnx", tmp_path / "out.onnx", ConversionConfig(precision=precision))
    assert done.casts_inserted == 0
    feeds = {"x": random.standard_normal((5, 16)).astype(np.float32)}
    before, after = (run_in_onnxruntime(tmp_path / name, feeds)[0] for name in ("q.onnx", "out.onnx"))
    np.testing.assert_array_equal(before, after)
