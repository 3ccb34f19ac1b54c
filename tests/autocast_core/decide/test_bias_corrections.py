"""What the rounding of a weight takes from the mean result of its product."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from autocast_core.calibrate import Statistics
from autocast_core.config import ConversionConfig, Precision
from autocast_core.decide import decide
from autocast_core.decide.bias_corrections import bias_corrections, low_products
from autocast_core.model import load_proto

HEAD = '<ir_version: 10, opset_import: ["" : 22]> g '
MATRIX = "(float[5, 4] x) => (float[5, 4] y) {[product] a = MatMul(x, w) [sum] y = Add(a, b)}"
GEMM = "(float[5, 4] x) => (float[5, 4] y) {[product] y = Gemm <transB = 1> (x, w, b)}"
CONV = "(float[1, 4, 5] x) => (float[1, 4, 4] y) {[product] y = Conv <group = 2> (x, w, b)}"


def loaded(text: str, shape: tuple[int, ...]) -> tuple[ir.Model, np.ndarray]:
    proto = onnx.parser.parse_model(HEAD + text)
    weight = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    for name, array in {"w": weight, "b": np.ones(4, np.float32)}.items():
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    return load_proto(proto), weight


def planned(model: ir.Model, **options):
    return decide(model, Statistics(), {}, ConversionConfig(**options))


@pytest.mark.parametrize(("text", "shape"), [(MATRIX, (4, 4)), (GEMM, (4, 4)), (CONV, (4, 2, 2))])
@pytest.mark.parametrize("precision", [Precision.FP16, Precision.BF16])
def test_with_its_correction_a_product_of_constant_values_is_exact(text, shape, precision) -> None:
    model, weight = loaded(text, shape)
    products = low_products(model, planned(model, precision=precision))
    means = np.arange(1.0, 5.0)
    (found,) = bias_corrections(products, {products[0].node: means})
    correction = np.frombuffer(found.values, "<f4")

    rounded = weight.astype(precision.numpy).astype(np.float64)
    if text is CONV:
        made = [
            np.concatenate([each[half : half + 2].sum(axis=-1) @ means[half : half + 2] for half in (0, 2)])
            for each in (weight.astype(np.float64), rounded)
        ]
    else:
        made = [each @ means if text is GEMM else means @ each for each in (weight.astype(np.float64), rounded)]
    assert np.abs(made[1] - made[0]).max() > 1e-5
    np.testing.assert_allclose(made[1] + correction, made[0], atol=1e-6)
    assert (found.product, found.precision) == ("graph/product", precision)


def test_means_that_are_not_finite_correct_nothing() -> None:
    model, _ = loaded(MATRIX, (4, 4))
    products = low_products(model, planned(model))
    assert list(bias_corrections(products, {products[0].node: np.array([1, np.inf, 1, 1])})) == []


def test_a_product_in_fp32_needs_none() -> None:
    model, _ = loaded(MATRIX, (4, 4))
    assert low_products(model, planned(model, nodes_to_exclude=("product",))) == ()
