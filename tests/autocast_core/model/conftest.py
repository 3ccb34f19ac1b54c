"""Small models on disk."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import numpy_helper


@pytest.fixture
def weighted_model() -> onnx.ModelProto:
    """x @ w, then an If whose branches hold 16 KiB each in an initializer and a Constant, + s."""
    model = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 17], producer_name: "test">
        g (float[1,64] x, bool c) => (float[1,64] y) {
            h = MatMul (x, w)
            b = If (c) <
                then_branch = t () => (float[1,64] p) { p = MatMul (h, v) },
                else_branch = e () => (float[1,64] q) { u = Constant<value = float {0}> () q = MatMul (h, u) }
            >
            y = Add (b, s)
        }""")
    weights = np.random.default_rng(0).standard_normal((3, 64, 64)).astype(np.float32)
    model.graph.initializer.append(numpy_helper.from_array(weights[0], "w"))
    model.graph.initializer.append(numpy_helper.from_array(np.float32([0.5]), "s"))
    branches = {attribute.name: attribute.g for attribute in model.graph.node[1].attribute}
    branches["then_branch"].initializer.append(numpy_helper.from_array(weights[1], "v"))
    branches["else_branch"].node[0].attribute[0].t.CopyFrom(numpy_helper.from_array(weights[2], ""))
    onnx.checker.check_model(model, full_check=True)
    return model


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    """Saves a model, inline or with external data in model.onnx.data."""

    def write(model: onnx.ModelProto, external: bool = False, name: str = "model.onnx") -> Path:
        path = tmp_path / name
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        onnx.save(copy, path, save_as_external_data=external, location=f"{name}.data", size_threshold=0)
        return path

    return write
