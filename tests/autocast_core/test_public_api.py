"""The names that users import from autocast_core."""

import subprocess
import sys

import pytest

import autocast_core

PUBLIC = {
    "AutocastError",
    "Conversion",
    "ConversionConfig",
    "NodeDecision",
    "NodeRuleBase",
    "Precision",
    "PrecisionPlan",
    "Rule",
    "SearchResult",
    "auto_convert_mixed_precision",
    "configure_logging",
    "convert_file",
    "convert_float_to_float16",
    "convert_to_f16",
    "convert_to_mixed_precision",
    "read_plan",
    "tune_file",
    "widen_file",
}


def test_the_public_names_are_these():
    assert set(autocast_core.__all__) == set(dir(autocast_core)) == PUBLIC


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_every_public_name_can_be_imported(name):
    assert getattr(autocast_core, name).__name__ == name


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no_such_name"):
        autocast_core.no_such_name


def test_the_package_alone_imports_neither_onnx_nor_numpy():
    program = "import sys, autocast_core; print(sorted({'onnx', 'onnx_ir', 'numpy', 'onnxruntime'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
