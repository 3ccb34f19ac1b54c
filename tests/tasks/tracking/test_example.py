"""Input examples of logged models."""

import json

import numpy as np
import onnx
import pytest

from autocast_core.config import ConversionConfig
from autocast_core.model import file_digest
from autocast_core.model.reference import ModelRef
from tasks.tracking.example import input_example, write_example

RELU = '<ir_version: 9, opset_import: ["": 17]> g (float[N, 4] x) => (float[N, 4] y) { y = Relu(x) }'


def saved(folder, name, text):
    path = folder / f"{name}.onnx"
    onnx.save(onnx.parser.parse_model(text), path)
    return ModelRef(path, file_digest(path))


@pytest.fixture
def example(tmp_path):
    """`example(array, type)`: the example of a Relu whose converted form takes `type`, with `array` as data."""

    def make(array, kind="float16"):
        np.savez(tmp_path / "data.npz", x=array)
        source, converted = saved(tmp_path, "a", RELU), saved(tmp_path, "b", RELU.replace("float[", f"{kind}["))
        return input_example(source, converted, tmp_path / "data.npz", ConversionConfig())

    return make


def test_the_example_is_one_sample_in_the_types_of_the_converted_model(example):
    found = example(np.array([[1.0001, 2, 3, 4], [5, 6, 7, 8]], "f4"))
    assert found == {"x": [[1.0, 2.0, 3.0, 4.0]]}


@pytest.mark.parametrize(
    ("value", "kind"),
    [(np.nan, "float16"), (-3.4e38, "float16"), (1.0, "bfloat16")],
    ids=["NaN", "what becomes infinite", "a type that numpy does not know"],
)
def test_what_the_form_cannot_hold_gives_no_example(example, value, kind):
    assert example(np.full((1, 4), value, "f4"), kind) is None


def test_the_scoring_servers_file_wraps_the_same_lists(tmp_path):
    info = write_example(tmp_path, {"x": [[1.5]]})
    plain, serving = (json.loads((tmp_path / info[key]).read_text()) for key in ("artifact_path", "serving_input_path"))
    assert (plain, serving) == ({"x": [[1.5]]}, {"inputs": {"x": [[1.5]]}})
