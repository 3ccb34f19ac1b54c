"""The flow repairs ranges by default, and what it publishes can be verified from its source and its plan."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from autocast_core.plan import PrecisionPlan
from flows.local.home import home
from flows.review.verification import verify_version
from tests.flows.conversions import batches, convert

STREAM = """
<ir_version: 8, opset_import: ["" : 17]>
stream (float[N, 8] x) => (float[N, 8] y) <float[8, 8] w = {W}, float[8] g = {1, 1, 1, 1, 1, 1, 1, 1}> {
    [norm] n = LayerNormalization (x, g)
    [branch] f = MatMul(n, w)
    [sum] s = Add(x, f)
    [last_norm] y = LayerNormalization (s, g)
}"""


@pytest.mark.xdist_group("prefect")
def test_a_stream_over_the_limit_is_lowered_and_the_conversion_verified(workplace: Path) -> None:
    weights = ", ".join(f"{value:.6g}" for value in 5e3 * np.random.default_rng(0).normal(size=64))
    onnx.save(onnx.parser.parse_model(STREAM.replace("{W}", f"{{{weights}}}")), workplace / "stream.onnx")
    data = batches(workplace / "d.npz")
    result = convert(
        workplace / "stream.onnx", calibration=data, output=workplace / "out", gates=("worst_batch.sqnr_db>=60",)
    )
    plan = PrecisionPlan.from_json((workplace / "out" / "plan.json").read_text())
    assert [each.step for each in plan.sanitize] == ["residual_scale"]
    assert result.metrics["nodes/fp32"] == 0
    assert result.metrics["casts/inserted"] == 0
    assert verify_version(result.registered, home()).verified
    plain = convert(workplace / "stream.onnx", calibration=data, output=workplace / "plain", repair_ranges=False)
    assert plain.metrics["nodes/fp32"] >= 3
