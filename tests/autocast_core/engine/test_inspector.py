"""The engine inspector's JSON: that of recorded engines, whose logs have the same keys, and TensorRT 10's words."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from autocast_core.engine import build_log, inspector
from tests.autocast_core.engine.test_build_log import recorded

TENSOR = re.compile(r"\{ Name: (.*?), Dimensions: \[([-\d,]*)\], .*?Datatype: (\w+)")
CONVOLUTION: dict[str, Any] = {
    "Name": "conv + relu",
    "LayerType": "CaskConvolution",
    "Inputs": [{"Name": "x", "Location": "Device", "Dimensions": [1, 3, 8, 8], "Format/Datatype": "Row major FP16"}],
    "Outputs": [{"Name": "y", "Dimensions": [1, 4, 8, 8], "Format/Datatype": "Channel major FP16 format"}],
    "Weights": {"Type": "Half", "Count": 108},
    "Bias": {"Type": "Float", "Count": 4},
    "StreamId": 1,
    "Metadata": "[ONNX Layer: conv]\x1e[ONNX Layer: relu]",
}


def _as_json(line: str) -> dict[str, Any]:
    """A line of a recorded log as the inspector's JSON has it: the keys are the same."""
    field = {
        key: re.search(rf"{key}: \[(.*?)\], (?:Constants|Outputs|TacticName)", line)
        for key in ("Inputs", "Constants", "Outputs")
    }
    tensors = {
        key: [
            {"Name": name, "Dimensions": [int(size) for size in shape.split(",") if size], "Datatype": kind}
            for name, shape, kind in TENSOR.findall(found.group(1) if found else "")
        ]
        for key, found in field.items()
    }
    name, kind = re.match(r"Name: (.*?), LayerType: (.*?),", line).groups()
    stream = int(re.search(r"StreamId: (-?\d+)", line).group(1))
    return {"Name": name, "LayerType": kind, **tensors, "StreamId": stream, "Metadata": line.partition("Metadata:")[2]}


def _read(*layers: Any) -> Any:
    return inspector.read(json.dumps({"Layers": [*layers], "Bindings": ["x", "y"]}))


@pytest.mark.parametrize("model", ["gpt2", "resnet50", "whisper_encoder", "if_loop"])
def test_the_inspector_gives_the_kernels_that_the_log_of_the_build_gives(model):
    lines = recorded(model)[-1].removeprefix("Layers:").strip("\n").split("\n")
    layers = [_as_json(line) for line in lines if line.startswith("Name:")]
    found = _read(*layers)
    assert found.problem is None
    assert found.kernels == build_log.read(recorded(model)).kernels


def test_tensorrt_10_names_types_in_words_and_counts_weights():
    (kernel,) = _read(CONVOLUTION).kernels
    assert kernel.nodes == ("conv", "relu")
    assert (kernel.reads, kernel.writes) == (("float16", "float16", "float"), ("float16",))
    assert kernel.read_bytes == 2 * 3 * 64 + 2 * 108 + 4 * 4
    assert (kernel.written_bytes, kernel.stream, kernel.flops) == (2 * 4 * 64, 1, None)


def test_a_copy_around_a_node_is_no_part_of_it_and_only_moves():
    copy = {**CONVOLUTION, "Name": "Reformatting CopyNode for Input Tensor 0 to conv", "LayerType": "Reformat"}
    (kernel,) = _read(copy).kernels
    assert (kernel.nodes, kernel.only_moves) == ((), True)


def test_what_does_nothing_is_no_kernel():
    assert _read({**CONVOLUTION, "LayerType": "NoOp"}, {"LayerType": "signal"}).kernels == ()


def test_what_a_layer_does_not_tell_is_unknown():
    (kernel,) = _read({"Name": "conv", "Inputs": [{"Format/Datatype": "Row major BF16"}], "Outputs": [{}]}).kernels
    assert (kernel.reads, kernel.writes) == (("bfloat16",), ("",))
    assert (kernel.read_bytes, kernel.written_bytes, kernel.kind) == (None, None, "")
    unknown = {**CONVOLUTION, "Outputs": [{"Dimensions": [2], "Datatype": "E8M0"}]}
    (kernel,) = _read(unknown).kernels
    assert (kernel.writes, kernel.written_bytes) == (("E8M0",), None)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("no JSON", "the engine inspector wrote invalid JSON"),
        ("[]", "the engine inspector tells no more than names of layers"),
        ('{"Layers": ["conv + relu"]}', "the engine inspector tells no more than names of layers"),
        ('{"Layers": null}', "the engine inspector tells no more than names of layers"),
    ],
)
def test_what_cannot_be_read_is_said(text, problem):
    found = inspector.read(text)
    assert (found.kernels, found.problem) == ((), problem)
