import math

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest

from autocast_core.config import ConversionConfig, Precision, precision_of
from autocast_core.errors import ConfigError


def test_facts_about_the_formats():
    assert (Precision.FP16.max, Precision.FP16.smallest_normal) == (65504.0, 2.0**-14)
    assert Precision.BF16.max == float(ml_dtypes.finfo(ml_dtypes.bfloat16).max)
    assert Precision.BF16.smallest_normal == Precision.FP32.smallest_normal == 2.0**-126
    assert [precision.is_low for precision in Precision] == [False, True, True, False]
    assert Precision.FP16.numpy == np.float16
    assert (Precision.FP16.minimum_opset, Precision.BF16.minimum_opset) == (13, 22)


def test_element_types_and_precisions_belong_together():
    for precision in (Precision.FP32, Precision.FP16, Precision.BF16):
        assert precision_of(precision.dtype) == precision
    assert precision_of(ir.DataType.DOUBLE) is None
    with pytest.raises(KeyError):
        Precision.NONE.dtype


def test_defaults_are_autocasts():
    config = ConversionConfig()
    assert (config.precision, config.data_max, config.init_max) == (Precision.FP16, 512, 65504)
    assert (config.keep_io_types, config.max_depth_of_reduction, config.init_conversion_max_bytes) == (
        False,
        None,
        None,
    )
    assert (config.opset, config.providers) == (None, ())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"precision": Precision.FP32}, "give fp16 or bf16"),
        ({"nodes_to_exclude": ("(",)}, "'\\(' is no regular expression"),
        ({"nodes_to_include": ("[",)}, "is no regular expression"),
        ({"data_max": 0.0}, "data_max is 0.0"),
        ({"data_max": math.nan}, "data_max is nan"),
        ({"init_max": -1.0}, "init_max is -1.0"),
        ({"max_depth_of_reduction": 0}, "max_depth_of_reduction is 0"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"init_conversion_max_bytes": -1}, "init_conversion_max_bytes is -1"),
        ({"opset": 0}, "opset is 0"),
    ],
)
def test_values_that_cannot_be_used_are_refused(options, said):
    with pytest.raises(ConfigError, match=said):
        ConversionConfig(**options)


def test_infinity_switches_a_limit_off():
    assert ConversionConfig(data_max=math.inf, init_max=math.inf).data_max == math.inf


@pytest.mark.parametrize(("keep", "kept"), [(True, {"a", "b"}), (False, set()), (("b",), {"b"})])
def test_types_to_keep_are_all_none_or_those_named(keep, kept):
    config = ConversionConfig(keep_io_types=keep)
    assert {name for name in ("a", "b") if config.keeps_io_type(name)} == kept
