"""The converter takes NaN in calibration data, as AutoCast does, and says where it stands."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx

from autocast_core.pipeline.convert import convert_file

NET = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[n, 2] x) => (float[n, 2] y) { [relu] y = Relu(x) }"""


def test_the_warning_names_file_batch_and_element(tmp_path: Path) -> None:
    onnx.save(onnx.parser.parse_model(NET), tmp_path / "net.onnx")
    data = np.ones((4, 2), np.float32)
    data[3, 1] = np.inf
    np.savez(tmp_path / "data.npz", x=data)
    plan = convert_file(tmp_path / "net.onnx", tmp_path / "low.onnx", calibration=tmp_path / "data.npz").plan
    line = "in calibration, data.npz, batch 3: input 'x' holds 1 NaN or infinite values, the first at [0, 1]"
    assert line in plan.warnings
