"""Means of what products read, against numpy."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from autocast_core.backends.onnxruntime import OnnxRuntime
from autocast_core.calibrate.channel_means import channel_means

TEXT = """
<ir_version: 10, opset_import: ["" : OPSET]>
g (float[N, 3, 2, 2] x) => (float[N, 2] y, float[N, 3, 2, 1] z, float[N, 3, 2, 1] r)
<float[3, 3, 1, 1] k = {1, 0, 0, 0, 2, 0, 0, 0, 3}, float[2, 12] w = {WEIGHTS}, float[2, 1] v = {1, 1}>
{
    [convolution] c = Conv(x, k)
    [flat] f = Flatten(c)
    [linear] y = Gemm <transB = 1> (f, w)
    [matrix] z = MatMul(c, v)
    [rows] r = MatMul(x, v)
}
"""


@pytest.mark.parametrize("opset", [13, 18])
def test_means_are_those_of_all_batches_channel_by_channel(opset: int) -> None:
    text = TEXT.replace("OPSET", str(opset)).replace("WEIGHTS", ", ".join(map(str, range(24))))
    model = ir.serde.deserialize_model(onnx.parser.parse_model(text))
    before = ir.serde.serialize_model(model).SerializeToString()
    products = [node for node in model.graph if node.op_type != "Flatten"]
    batches = [np.random.default_rng(seed).normal(1, 1, (2, 3, 2, 2)).astype(np.float32) for seed in range(3)]

    found = channel_means(model, products, [{"x": x} for x in batches], OnnxRuntime(threads=1))

    x = np.concatenate(batches)
    made = x * np.array([1, 2, 3]).reshape(1, 3, 1, 1)
    by_name = {product.name: means for product, means in found.items()}
    np.testing.assert_allclose(by_name["convolution"], x.mean(axis=(0, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(by_name["rows"], x.mean(axis=(0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(by_name["linear"], made.reshape(6, 12).mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(by_name["matrix"], made.mean(axis=(0, 1, 2)), rtol=1e-5)
    assert ir.serde.serialize_model(model).SerializeToString() == before
