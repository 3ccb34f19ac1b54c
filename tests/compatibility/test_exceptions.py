"""Which of Python's exceptions an AutoCast script may rely on."""

import re

import numpy as np
import onnx
import pytest

from autocast_core import AutocastError, convert_to_f16, convert_to_mixed_precision
from tests.compatibility.converted import CHAIN, X


@pytest.fixture
def source(saved):
    return saved()


@pytest.mark.parametrize("name", ["absent.onnx", "no_folder/absent.onnx"])
def test_a_missing_model_is_a_file_not_found_error(tmp_path, name):
    with pytest.raises(FileNotFoundError, match=re.escape(f"{name}: no such file")):
        convert_to_mixed_precision(str(tmp_path / name))


@pytest.mark.parametrize("name", ["absent.npz", "absent.json", "absent_folder"])
def test_missing_data_is_a_file_not_found_error(source, tmp_path, name):
    with pytest.raises(FileNotFoundError, match=re.escape(f"{name}: no such file")):
        convert_to_mixed_precision(source, calibration_data=str(tmp_path / name))


def test_missing_external_weights_are_a_file_not_found_error(tmp_path):
    model = onnx.parser.parse_model(CHAIN)
    tensor = model.graph.initializer[0]
    tensor.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor), tensor.name))
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, location="weights", size_threshold=0)
    (tmp_path / "weights").unlink()
    with pytest.raises(FileNotFoundError, match="weights is missing"):
        convert_to_mixed_precision(str(tmp_path / "m.onnx"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"low_precision_type": "fp8"}, "fp8"),
        ({"low_precision_type": ""}, "fp16"),
        ({"data_max": -1}, "data_max"),
        ({"data_max": float("nan")}, "data_max"),
        ({"init_max": -0.5}, "init_max"),
        ({"max_depth_of_reduction": -1}, "max_depth_of_reduction"),
        ({"init_conversion_max_bytes": -1}, "init_conversion_max_bytes"),
        ({"opset": 99}, "opset 99 is unknown"),
        ({"opset": 0}, "opset"),
        ({"nodes_to_exclude": ["("]}, "regular expression"),
        ({"op_types_to_exclude": "Softmax"}, "op_types_to_exclude is the string 'Softmax'"),
        ({"nodes_to_include": ["*"]}, "regular expression"),
        ({"providers": ["gpu"]}, "'gpu'"),
        ({"trt_plugins_precision": ["Foo"]}, "trt_plugins_precision"),
        ({"trt_plugins_precision": ["Foo:fp8"]}, "trt_plugins_precision"),
        ({"trt_plugins_precision": ["Foo:[fp16"]}, "trt_plugins_precision"),
        ({"custom_rule": object()}, "give it check"),
        ({"calibration_data": {"z": X}}, "'x'"),
        ({"calibration_data": {"x": X[:, :3]}}, "'x'"),
        ({"calibration_data": {"x": np.zeros((2, 4), "U1")}}, "'x'"),
    ],
)
def test_what_cannot_be_used_is_a_value_error_that_names_it(source, options, said):
    with pytest.raises(ValueError, match=re.escape(said)) as error:
        convert_to_mixed_precision(source, **options)
    assert isinstance(error.value, AutocastError)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["data.txt", "damaged.npz", "damaged.json", "empty_folder"])
def test_data_that_cannot_be_read_is_a_value_error(source, tmp_path, name):
    if name == "empty_folder":
        (tmp_path / name).mkdir()
    else:
        (tmp_path / name).write_text("no data")
    with pytest.raises(ValueError, match=name):
        convert_to_mixed_precision(source, calibration_data=str(tmp_path / name))


@pytest.mark.parametrize("content", [b"", b"no model at all", b"\x08\x07\x12\x00"])
def test_a_file_that_is_no_model_is_a_value_error(tmp_path, content):
    (tmp_path / "bad.onnx").write_bytes(content)
    with pytest.raises(ValueError, match=r"bad\.onnx"):
        convert_to_mixed_precision(str(tmp_path / "bad.onnx"))


@pytest.mark.parametrize(("options", "said"), [({"low_precision_type": "int8"}, "int8"), ({"opset": 99}, "opset 99")])
def test_convert_to_f16_raises_value_errors_too(options, said):
    with pytest.raises(ValueError, match=said):
        convert_to_f16(onnx.parser.parse_model(CHAIN), **options)


def test_convert_to_f16_takes_no_path():
    with pytest.raises(ValueError, match=r"the model is a str: give an onnx\.ModelProto, as onnx\.load returns"):
        convert_to_f16("model.onnx")
