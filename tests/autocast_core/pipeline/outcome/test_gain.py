"""Conversions that make a model larger, or no smaller for their Casts."""

import numpy as np
import onnx
import pytest

from autocast_core import ConversionConfig, convert_file
from autocast_core.pipeline.outcome.gain import no_gain


@pytest.mark.parametrize(
    ("before", "after", "casts", "said"),
    [
        (225_000, 271_000, 4, "larger than its source, 271,000 bytes in place of 225,000, with 4 Casts"),
        (225_000, 225_000, 154, "no smaller than its source, 225,000 bytes in place of 225,000, with 154 Casts"),
        (225_000, 113_000, 154, None),
        (225_000, 225_100, 0, None),
        (2_000, 2_400, 4, None),
    ],
)
def test_what_became_no_smaller_is_said(before, after, casts, said):
    found = no_gain(before, after, casts)
    assert found is None if said is None else found is not None and said in found


def test_a_conversion_that_only_inserts_casts_warns(tmp_path, caplog):
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["": 17]>
        g (float[1, 256] x) => (float[1, 256] y) <float[256, 256] w> {
          [before] a = Tanh(x) [product] p = MatMul(a, w) [after] y = Tanh(p) }"""
    )
    weights = np.eye(256, dtype=np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weights, "w"))
    onnx.save(model, tmp_path / "model.onnx")
    config = ConversionConfig(op_types_to_exclude=("MatMul",))
    conversion = convert_file(tmp_path / "model.onnx", tmp_path / "out.onnx", config)
    (warning,) = conversion.warnings
    assert warning.endswith("with 2 Casts inserted: weigh it against its speed, or keep the source")
    assert warning in caplog.messages
