"""What is known of tensor sizes before a run."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.shape_inference
import onnx_ir as ir

from autocast_core.calibrate.tensor_sizes import peak_bytes, sizes_of


def model_of(text: str, *, infer: bool = True) -> ir.Model:
    proto = onnx.parser.parse_model('<ir_version: 10, opset_import: ["" : 18]>' + text)
    return ir.serde.deserialize_model(onnx.shape_inference.infer_shapes(proto) if infer else proto)


CHAIN = "g (float[N, 8] x) => (float[N, 8] y) { a = Exp(x) b = Concat<axis = 1>(a, a) c = Relu(b) y = Neg(a) }"


def test_symbols_of_the_inputs_are_filled_in() -> None:
    found = sizes_of(model_of(CHAIN), {"x": np.zeros((3, 8), np.float32)})
    assert found.counts == {"x": 24, "a": 24, "b": 48, "c": 48, "y": 24}


def test_without_shapes_inference_finds_them() -> None:
    found = sizes_of(model_of(CHAIN, infer=False), {"x": np.zeros((3, 8), np.float32)})
    assert (found.counts["b"], found.counts["y"]) == (48, 24)


def test_what_depends_on_values_has_a_symbolic_shape_that_alike_tensors_share() -> None:
    model = model_of(
        "g (float[8] x) => (float[K] y) { b = Cast<to = 9>(x) a = Compress<axis = 0>(x, b) c = Neg(a) y = Exp(c) }"
    )
    found = sizes_of(model, {"x": np.zeros(8, np.float32)})
    assert "c" not in found.counts
    assert found.symbolic["c"] == found.symbolic["a"]


def test_peak_memory_is_what_lives_together() -> None:
    model = model_of(CHAIN)
    # At the Relu: a (24, still needed), b and c (48 each).
    assert peak_bytes(model, sizes_of(model, {"x": np.zeros((3, 8), np.float32)}).counts) == 4 * (24 + 48 + 48)
