"""Models that other tools made, as ONNX text without weights: `recorded/BASE.FAULT.TOOL.txt`.

They were made of the planted references by NVIDIA's AutoCast 0.47.0 (data_max and init_max infinite, keep_io_types),
onnxslim 0.1.98, and onnxconverter-common 1.16.0 (convert_float_to_float16 with keep_io_types), or the last two.
"""

import re
from pathlib import Path

import numpy as np
import onnx
import onnx.numpy_helper
import onnx.parser

_FOLDER = Path(__file__).parent / "recorded"
_COPY = re.compile(r"_\d+$")
"""AutoCast gives each reader a constant of its own: NAME_1, NAME_2."""


def recorded_names() -> list[str]:
    """The names of the files, without their suffix."""
    return sorted(path.stem for path in _FOLDER.glob("*.txt"))


def recorded(name: str, reference: onnx.ModelProto) -> onnx.ModelProto:
    """The model called `name`, with the weights of `reference`, in FP16 unless onnxslim alone made it."""
    found = onnx.parser.parse_model((_FOLDER / f"{name}.txt").read_text())
    weights = {each.name: onnx.numpy_helper.to_array(each) for each in reference.graph.initializer}
    made = {value for node in found.graph.node for value in node.output} | {port.name for port in found.graph.input}
    read = dict.fromkeys(value for node in found.graph.node for value in node.input if value and value not in made)
    dtype = np.float32 if name.endswith(".onnxslim") else np.float16
    for value in read:
        array = weights[value if value in weights else _COPY.sub("", value)]
        found.graph.initializer.append(onnx.numpy_helper.from_array(array.astype(dtype), value))
    return found
