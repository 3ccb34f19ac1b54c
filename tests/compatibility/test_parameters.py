"""Every parameter of `convert_to_mixed_precision`, as AutoCast's guide describes it."""

import base64
import inspect
import io
import json

import numpy as np
import onnx
import pytest

from autocast_core import NodeRuleBase, convert_to_f16, convert_to_mixed_precision
from tests.compatibility.converted import CHAIN, ConvertedModel, X

PARAMETERS = {
    "onnx_path": inspect.Parameter.empty,
    "low_precision_type": "fp16",
    "nodes_to_exclude": None,
    "op_types_to_exclude": None,
    "nodes_to_include": None,
    "op_types_to_include": None,
    "data_max": 512,
    "init_max": 65504,
    "keep_io_types": False,
    "calibration_data": None,
    "custom_rule": None,
    "init_conversion_max_bytes": None,
    "providers": None,  # AutoCast's ["cpu"], which None stands for
    "trt_plugins": None,  # AutoCast's []
    "trt_plugins_precision": None,  # AutoCast's []
    "max_depth_of_reduction": None,
    "opset": None,
    "use_standalone_type_inference": False,
}
OF_F16 = {
    "model": inspect.Parameter.empty,
    "low_precision_type": "fp16",
    "keep_io_types": True,
    "op_block_list": (),  # AutoCast's []
    "tensor_block_dict": None,  # AutoCast's {}
    "trt_plugins": None,
    "use_standalone_type_inference": False,
    "opset": None,
}


@pytest.mark.parametrize("position", range(len(PARAMETERS)), ids=list(PARAMETERS))
def test_a_parameter_has_autocasts_place_name_and_default(position):
    found = list(inspect.signature(convert_to_mixed_precision).parameters.values())[position]
    assert (found.name, found.default) == list(PARAMETERS.items())[position]


@pytest.mark.parametrize("position", range(len(OF_F16)), ids=list(OF_F16))
def test_a_parameter_of_convert_to_f16_has_autocasts_place_name_and_default(position):
    found = list(inspect.signature(convert_to_f16).parameters.values())[position]
    assert (found.name, found.default) == list(OF_F16.items())[position]


def test_no_parameter_is_left_over():
    assert list(inspect.signature(convert_to_mixed_precision).parameters) == list(PARAMETERS)
    assert list(inspect.signature(convert_to_f16).parameters) == list(OF_F16)


def test_with_nothing_but_a_path_what_stays_small_is_fp16_and_so_are_inputs_and_outputs(convert):
    found = convert()
    assert found.interface == {"x": "fp16", "y": "fp16"}
    assert found.kept == {"exp", "mul"}  # e^8 = 2981 is beyond 512
    assert found.types["w"] == "fp16"


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_the_low_type_is_the_one_asked_for(convert, precision):
    found = convert(CHAIN, precision)
    assert found.precisions["mm"] == found.precisions["relu"] == precision
    assert found.interface == {"x": precision, "y": precision}
    assert found.weights["w"] == precision


def test_numbers_stay_within_the_low_types_rounding(convert):
    expected = ConvertedModel(onnx.parser.parse_model(CHAIN)).run(x=X)[0]
    np.testing.assert_allclose(convert().run(x=X)[0], expected, rtol=5e-3, atol=5e-3)


@pytest.mark.parametrize(
    ("patterns", "kept"),
    [
        (["mm"], {"mm", "exp", "mul"}),
        (["m"], {"mm", "exp", "mul"}),
        ([".*"], {"mm", "add", "relu", "exp", "mul"}),
        (["a.d$"], {"add", "exp", "mul"}),
        (["elu"], {"exp", "mul"}),  # re.match begins at the beginning
        ([".*elu"], {"relu", "exp", "mul"}),
        (["mm", "relu"], {"mm", "relu", "exp", "mul"}),
        (["none of them"], {"exp", "mul"}),
        ([], {"exp", "mul"}),
    ],
)
def test_nodes_to_exclude_are_regular_expressions_of_names(convert, patterns, kept):
    assert convert(nodes_to_exclude=patterns).kept == kept


@pytest.mark.parametrize(
    ("types", "kept"),
    [
        (["MatMul"], {"mm", "exp", "mul"}),
        (["MatMul", "Relu"], {"mm", "relu", "exp", "mul"}),
        (["Mat"], {"exp", "mul"}),  # exact names
        (["matmul"], {"exp", "mul"}),
        ([], {"exp", "mul"}),
    ],
)
def test_op_types_to_exclude_are_exact_names(convert, types, kept):
    assert convert(op_types_to_exclude=types).kept == kept


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({"nodes_to_include": ["exp"]}, {"mul"}),
        ({"nodes_to_include": ["exp", "mul"]}, set()),
        ({"op_types_to_include": ["Exp", "Mul"]}, set()),
        ({"op_types_to_include": ["Ex"]}, {"exp", "mul"}),
        ({"op_types_to_exclude": ["MatMul"], "nodes_to_include": ["mm"]}, {"exp", "mul"}),
        ({"nodes_to_exclude": [".*"], "op_types_to_include": ["MatMul"]}, {"add", "relu", "exp", "mul"}),
        ({"init_max": 1, "nodes_to_include": ["mm"]}, {"add", "exp", "mul"}),
        ({"max_depth_of_reduction": 2, "op_types_to_include": ["MatMul"]}, {"exp", "mul"}),
    ],
)
def test_include_options_override_every_exclusion(convert, options, kept):
    assert convert(**options).kept == kept


@pytest.mark.parametrize(
    ("limit", "kept"),
    [
        (512, {"exp", "mul"}),
        (np.inf, set()),
        (float("inf"), set()),
        (None, set()),
        (1e6, set()),
        (7.5, {"add", "relu", "exp", "mul"}),
        (0, {"mm", "add", "relu", "exp", "mul"}),
    ],
)
def test_data_max_limits_what_nodes_read_and_make(convert, limit, kept):
    assert convert(data_max=limit, calibration_data={"x": X}).kept == kept


@pytest.mark.parametrize(
    ("limit", "kept"),
    [
        (65504, set()),
        (8, set()),
        (7.9, {"add", "exp"}),
        (3.5, {"mm", "add", "exp"}),
        (0, {"mm", "add", "exp"}),
        (np.inf, set()),
        (None, set()),
    ],
)
def test_init_max_limits_initializers_alone(convert, limit, kept):
    assert convert(init_max=limit, data_max=np.inf).kept == kept


@pytest.mark.parametrize(
    ("depth", "kept"), [(None, set()), (4, set()), (3, {"mm"}), (1, {"mm"}), (0, {"mm", "add", "relu", "exp", "mul"})]
)
def test_max_depth_of_reduction_limits_the_addends_of_an_element(convert, depth, kept):
    assert convert(max_depth_of_reduction=depth, data_max=np.inf).kept == kept


@pytest.mark.parametrize(
    ("keep", "interface"),
    [
        (False, {"x": "fp16", "y": "fp16"}),
        (True, {"x": "fp32", "y": "fp32"}),
        (["y"], {"x": "fp16", "y": "fp32"}),  # names are ours
    ],
)
def test_keep_io_types_keeps_the_types_of_inputs_and_outputs(convert, keep, interface):
    assert convert(keep_io_types=keep).interface == interface


@pytest.mark.parametrize("excluded", [["mm"], ["relu", "mul"], [".*"]])
@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_without_keep_io_types_what_only_fp32_nodes_touch_is_low_too(convert, excluded, precision):
    found = convert(CHAIN, precision, nodes_to_exclude=excluded)
    assert found.interface == {"x": precision, "y": precision}


def test_integers_and_booleans_keep_their_types(convert):
    text = """<ir_version: 8, opset_import: ["": 17]>
    g (float[4,2] x, int64[3] i, bool[3,2] c) => (float[3,2] y, int64[2] s)
    { [gather] a = Gather(x, i) [where] y = Where(c, a, a) s = Shape(y) }"""
    found = convert(text)
    assert found.interface == {"x": "fp16", "i": "int64", "c": "bool", "y": "fp16", "s": "int64"}


@pytest.mark.parametrize(("most", "stored"), [(None, "fp16"), (64, "fp16"), (63, "fp32"), (0, "fp32")])
def test_initializers_above_init_conversion_max_bytes_are_cast_at_run_time(convert, most, stored):
    found = convert(init_conversion_max_bytes=most)
    assert found.weights["w"] == stored
    assert found.precision("mm") == "fp16"


def test_a_custom_rule_keeps_what_it_checks(convert):
    class Keep(NodeRuleBase):
        def _check_inner(self, node):
            return node.op_type == "Relu" and node.input[0] == "a"

    assert convert(custom_rule=Keep()).kept == {"relu", "exp", "mul"}


@pytest.mark.parametrize("providers", [["cpu"], ["cpu", "cuda:0"], ["cuda:0"], ["trt", "cuda:0", "cpu"]])
def test_providers_that_are_not_there_are_passed_over(convert, providers):
    assert convert(providers=providers).kept == {"exp", "mul"}


def test_standalone_type_inference_decides_alike(convert):
    assert convert(use_standalone_type_inference=True).precisions == convert().precisions


@pytest.mark.parametrize("form", ["npz", "folder", "json", "arrays"])
def test_calibration_data_is_taken_in_every_form(convert, tmp_path, form):
    small, large = X, X * np.float32(1000)
    folder = tmp_path / "data"
    folder.mkdir()
    np.savez(folder / "a.npz", x=small)
    np.savez(folder / "b.npz", x=large)
    np.savez(tmp_path / "one.npz", x=large)
    (tmp_path / "data.json").write_text(json.dumps([_polygraphy(small), _polygraphy(large)]))
    given = {
        "npz": str(tmp_path / "one.npz"),
        "folder": str(folder),
        "json": str(tmp_path / "data.json"),
        "arrays": {"x": large},
    }
    assert convert(calibration_data=given[form]).kept == {"mm", "add", "relu", "exp", "mul"}


def _polygraphy(array):
    """An array as Polygraphy's JSON holds it: base64 of what numpy.save writes."""
    content = io.BytesIO()
    np.save(content, array)
    return {"x": {"array": base64.b64encode(content.getvalue()).decode(), "polygraphy_class": "numpy.ndarray"}}


def test_magnitudes_are_aggregated_over_batches(convert, tmp_path):
    for index, factor in enumerate((1, 100, 1)):
        np.savez(tmp_path / f"{index}.npz", x=X * np.float32(factor))
    assert convert(calibration_data=str(tmp_path), data_max=300).kept == {"mm", "add", "relu", "exp", "mul"}
    np.savez(tmp_path / "1.npz", x=X)
    assert convert(calibration_data=str(tmp_path), data_max=300).kept == {"exp", "mul"}
