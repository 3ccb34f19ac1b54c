"""What NVIDIA's AutoCast makes of nets, all in one process of the peers' environment."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx

from autocast_core import Precision
from tests.benchmarks.peers import install
from tests.hazards.hazard import Hazard

_CONVERT = """
import json, logging, pathlib, sys
import onnx
from modelopt.onnx.autocast import convert_to_mixed_precision
folder, precision = pathlib.Path(sys.argv[1]), sys.argv[2]
errors = {}
for source in sorted(folder.glob("*.source.onnx")):
    name = source.name.removesuffix(".source.onnx")
    try:
        model = convert_to_mixed_precision(
            onnx_path=str(source), low_precision_type=precision, calibration_data=str(folder / f"{name}.npz"))
        onnx.save(model, folder / f"{name}.{precision}.onnx")
    except Exception as error:
        errors[name] = f"{type(error).__name__}: {error}"[:200]
(folder / f"errors.{precision}.json").write_text(json.dumps(errors))
"""


def autocast_conversions(
    hazards: Mapping[str, Hazard], precision: Precision, folder: Path, environment: Path
) -> dict[str, onnx.ModelProto | str]:
    """By net the model that AutoCast makes with its defaults and our calibration data, or how it fails.

    `environment` is the peers' virtual environment, installed there where it is missing.
    """
    files = {name: f"{number:03}" for number, name in enumerate(hazards)}
    for name, hazard in hazards.items():
        onnx.save(hazard.model(), folder / f"{files[name]}.source.onnx")
        np.savez(folder / f"{files[name]}.npz", **hazard.calibration())  # type: ignore[arg-type]
    command = [install(environment).python, "-c", _CONVERT, folder, precision.value]
    subprocess.run([str(part) for part in command], check=True, capture_output=True)
    errors = json.loads((folder / f"errors.{precision.value}.json").read_text())
    return {
        name: errors[file] if file in errors else onnx.load(folder / f"{file}.{precision.value}.onnx")
        for name, file in files.items()
    }


def fp32_nodes(model: onnx.ModelProto) -> int:
    """How many nodes, bodies and Casts aside, compute an FP32 result."""
    inferred = onnx.shape_inference.infer_shapes(model)
    graph = inferred.graph
    floats = {
        each.name
        for each in (*graph.value_info, *graph.output)
        if each.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    }
    computing = (node for node in graph.node if node.op_type not in ("Cast", "Constant"))
    return sum(any(name in floats for name in node.output) for node in computing)
