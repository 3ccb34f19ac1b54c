import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from autocast_core.errors import ConfigError
from autocast_core.precision import Precision, parse_low_types, types_text


def test_facts_about_the_formats():
    assert (Precision.FP16.max, Precision.FP16.smallest_normal) == (65504.0, 2.0**-14)
    assert Precision.BF16.max == float(ml_dtypes.finfo(ml_dtypes.bfloat16).max)
    assert Precision.BF16.smallest_normal == Precision.FP32.smallest_normal == 2.0**-126
    assert [precision.is_low for precision in Precision] == [False, True, True, False]
    assert Precision.FP16.numpy == np.float16
    assert (Precision.FP16.minimum_opset, Precision.BF16.minimum_opset) == (13, 22)


def test_a_name_of_a_16_bit_format_is_one():
    assert [parse_low_types(name) for name in ("fp16", "bf16")] == [(Precision.FP16, None), (Precision.BF16, None)]
    with pytest.raises(ConfigError, match="low precision type fp32: give fp16 or bf16"):
        parse_low_types("fp32")


def test_two_16_bit_formats_are_fp16_and_bf16_for_its_range():
    for asked in ("fp16,bf16", ["fp16", "bf16"], (Precision.FP16, Precision.BF16)):
        assert parse_low_types(asked) == (Precision.FP16, Precision.BF16)
    assert types_text((Precision.FP16, Precision.BF16)) == "fp16,bf16"


@pytest.mark.parametrize("asked", ["bf16,fp16", "fp16,fp16", "", "fp16,", ["fp16", "fp32"], [], "fp16,bf16,bf16"])
def test_other_pairs_are_refused(asked):
    with pytest.raises(ConfigError, match="give fp16 or bf16, or fp16,bf16"):
        parse_low_types(asked)


def test_the_options_are_known_without_numpy():
    script = "import sys, autocast_core.config; print(sorted({'numpy', 'onnx_ir', 'ml_dtypes'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    )
    assert done.stdout.strip() == "[]"
