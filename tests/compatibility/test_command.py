"""The command line: AutoCast's flags, aliases and defaults, `get_parser` and `main`."""

import numpy as np
import onnx
import pytest

from autocast_core.__main__ import get_parser, main
from tests.compatibility.converted import CHAIN, ConvertedModel, X

FLAGS = {
    "onnx_path": ("--onnx_path",),
    "output_path": ("--output_path",),
    "low_precision_type": ("--low_precision_type", "-t"),
    "calibration_data": ("--calibration_data", "-d"),
    "nodes_to_exclude": ("--nodes_to_exclude", "-ne"),
    "op_types_to_exclude": ("--op_types_to_exclude", "-ope"),
    "nodes_to_include": ("--nodes_to_include", "-ni"),
    "op_types_to_include": ("--op_types_to_include", "-opi"),
    "data_max": ("--data_max",),
    "init_max": ("--init_max",),
    "init_conversion_max_bytes": ("--init_conversion_max_bytes",),
    "max_depth_of_reduction": ("--max_depth_of_reduction",),
    "keep_io_types": ("--keep_io_types",),
    "log_level": ("--log_level",),
    "providers": ("--providers",),
    "trt_plugins": ("--trt_plugins",),
    "trt_plugins_precision": ("--trt_plugins_precision",),
    "opset": ("--opset",),
    "use_standalone_type_inference": ("--use_standalone_type_inference",),
}
"""AutoCast's, by the attribute that its parser gives them."""


@pytest.mark.parametrize("name", list(FLAGS))
def test_a_flag_of_autocasts_is_there_with_its_aliases(name):
    actions = {flag: action for action in get_parser()._actions for flag in action.option_strings}
    assert {actions[flag].dest for flag in FLAGS[name]} == {name}


@pytest.mark.parametrize(
    ("name", "default"),
    [
        ("low_precision_type", "fp16"),
        ("data_max", 512),
        ("init_max", 65504),
        ("init_conversion_max_bytes", None),
        ("max_depth_of_reduction", None),
        ("opset", None),
        ("log_level", "INFO"),
        ("use_standalone_type_inference", False),
        ("output_path", None),
        ("calibration_data", None),
    ],
)
def test_a_default_is_autocasts(name, default):
    assert getattr(get_parser().parse_args(["--onnx_path", "m.onnx"]), name) == default


@pytest.mark.parametrize("level", ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"])
def test_a_log_level_of_autocasts_is_taken(level):
    assert get_parser().parse_args(["--onnx_path", "m", "--log_level", level]).log_level == level


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_the_output_lies_beside_the_source_with_the_type_in_its_name(saved, tmp_path, precision):
    main(["--onnx_path", saved(CHAIN, "net.v2.onnx"), "-t", precision])
    assert ConvertedModel(onnx.load(tmp_path / f"net.v2.{precision}.onnx")).interface == {
        "x": precision,
        "y": precision,
    }


@pytest.mark.parametrize(
    ("arguments", "kept"),
    [
        ((), {"exp", "mul"}),
        (("--data_max", "inf"), set()),
        (("--data_max", "0"), {"mm", "add", "relu", "exp", "mul"}),
        (("--data_max", "inf", "--nodes_to_exclude", ".*r.*"), {"relu"}),
        (("--data_max", "inf", "-ne", "mm", "add"), {"mm", "add"}),
        (("--data_max", "inf", "-ope", "MatMul", "Exp"), {"mm", "exp"}),
        (("--op_types_to_include", "Exp", "--nodes_to_include", "mul"), set()),
        (("--max_depth_of_reduction", "3", "--data_max", "inf"), {"mm"}),
        (("--init_max", "7.5", "--data_max", "inf"), {"add", "exp"}),
        (("--nodes_to_exclude",), {"exp", "mul"}),
        (("--providers", "cpu", "cuda:0"), {"exp", "mul"}),
    ],
)
def test_main_returns_the_converted_model(saved, tmp_path, arguments, kept):
    found = main(["--onnx_path", saved(), "--output_path", str(tmp_path / "out.onnx"), *arguments])
    assert ConvertedModel(found).kept == kept
    assert found == onnx.load(tmp_path / "out.onnx")


def test_keep_io_types_is_a_switch(saved):
    assert ConvertedModel(main(["--onnx_path", saved(), "--keep_io_types"])).interface == {"x": "fp32", "y": "fp32"}
    assert ConvertedModel(main(["--onnx_path", saved()])).interface == {"x": "fp16", "y": "fp16"}


def test_calibration_data_is_a_file(saved, tmp_path):
    np.savez(tmp_path / "data.npz", x=X * np.float32(1e4))
    found = main(["--onnx_path", saved(), "-d", str(tmp_path / "data.npz")])
    assert ConvertedModel(found).kept == {"mm", "add", "relu", "exp", "mul"}


@pytest.mark.parametrize("arguments", [(), ("--onnx_path",), ("--onnx_path", "m.onnx", "-t", "fp8"), ("--wrong",)])
def test_wrong_usage_ends_with_exit_code_2(arguments, capsys):
    with pytest.raises(SystemExit) as end:
        main(list(arguments))
    assert end.value.code == 2
