import numpy as np
import onnx_ir as ir
import pytest

from autocast_core.number_formats import precision_of
from autocast_core.precision import Precision


def test_rounding_to_a_precision_errs_by_its_unit_roundoff_at_most():
    numbers = np.linspace(1.0, 2.0, 4097, dtype=np.float64)
    for precision in (Precision.FP16, Precision.BF16):
        error = np.abs(numbers.astype(precision.numpy).astype(np.float64) - numbers)
        assert error.max() == precision.unit_roundoff
    assert Precision.FP32.unit_roundoff == 2.0**-24


def test_element_types_and_precisions_belong_together():
    for precision in (Precision.FP32, Precision.FP16, Precision.BF16):
        assert precision_of(precision.dtype) == precision
    assert precision_of(ir.DataType.DOUBLE) is None
    with pytest.raises(KeyError):
        Precision.NONE.dtype
