import math

import numpy as np
import pytest

from autocast_core.config import ConversionConfig, Precision
from autocast_core.errors import ConfigError


def test_defaults_are_autocasts():
    config = ConversionConfig()
    assert (config.precision, config.data_max, config.init_max) == (Precision.FP16, 512, 65504)
    assert (config.keep_io_types, config.max_depth_of_reduction, config.init_conversion_max_bytes) == (
        False,
        None,
        None,
    )
    assert (config.opset, config.providers, config.decide) == (None, (), "thresholds")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"precision": Precision.FP32}, "give fp16 or bf16"),
        ({"nodes_to_exclude": ("(",)}, "'\\(' is not a valid regular expression"),
        ({"nodes_to_include": ("[",)}, "is not a valid regular expression"),
        ({"data_max": -1.0}, "data_max is -1.0"),
        ({"data_max": math.nan}, "data_max is nan"),
        ({"init_max": -1.0}, "init_max is -1.0"),
        ({"max_depth_of_reduction": -1}, "max_depth_of_reduction is -1"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"init_conversion_max_bytes": -1}, "init_conversion_max_bytes is -1"),
        ({"opset": 0}, "opset is 0"),
        ({"decide": "maybe"}, "decide is maybe: give thresholds or measured"),
        ({"repair_evaluations": -1}, "repair_evaluations is -1: give at least 0"),
        ({"data_max": "512"}, "data_max is '512': give a number"),
        ({"data_max": None}, "data_max is None: give a number"),
        ({"opset": "17"}, "opset is '17': give an integer"),
        ({"segments": 1.5}, "segments is 1.5: give an integer"),
        ({"batch_size": True}, "batch_size is True: give an integer"),
        ({"repair_ranges": "false"}, "repair_ranges is 'false': give true or false"),
        ({"nodes_to_exclude": (5,)}, r"nodes_to_exclude is \(5,\): give a list of strings"),
        ({"keep_io_types": None}, "keep_io_types is None: give true, false or names"),
        ({"timing_cache": 5}, "timing_cache is 5: give a string"),
        ({"shapes": {"x": ("a",)}}, "give a shape for each name"),
        ({"profiles": {"x": 3}}, "give three shapes for each name"),
        ({"operands_to_exclude": {"Relu": 3}}, "give `inp` and `out`, lists of indices, for each operator type"),
        ({"precision": 16}, "low precision type 16: give fp16 or bf16"),
        (
            {"op_types_to_exclude": "Softmax"},
            r"op_types_to_exclude is the string 'Softmax': give a list: \['Softmax'\]",
        ),
        ({"keep_io_types": "x"}, "keep_io_types is the string 'x'"),
    ],
)
def test_values_that_cannot_be_used_are_refused(options, said):
    with pytest.raises(ConfigError, match=said):
        ConversionConfig(**options)


def test_infinity_switches_a_limit_off():
    assert ConversionConfig(data_max=math.inf, init_max=math.inf).data_max == math.inf


def test_numbers_and_flags_may_be_numpys():
    config = ConversionConfig(data_max=np.float32(2), batch_size=np.int64(3), repair_ranges=np.bool_(True))
    assert (config.data_max, config.batch_size, config.repair_ranges) == (2.0, 3, True)


@pytest.mark.parametrize(("keep", "kept"), [(True, {"a", "b"}), (False, set()), (("b",), {"b"})])
def test_types_to_keep_are_all_none_or_those_named(keep, kept):
    config = ConversionConfig(keep_io_types=keep)
    assert {name for name in ("a", "b") if config.keeps_io_type(name)} == kept


@pytest.mark.parametrize(("block", "said"), [({"inp": [-1]}, "negative"), ({"in": [0]}, "neither inp nor out")])
def test_operands_to_exclude_name_operands(block, said):
    with pytest.raises(ConfigError, match=f"operands_to_exclude of Relu: .*{said}"):
        ConversionConfig(operands_to_exclude={"Relu": block})
