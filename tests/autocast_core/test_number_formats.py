import onnx_ir as ir
import pytest

from autocast_core.number_formats import precision_of
from autocast_core.precision import Precision


def test_element_types_and_precisions_belong_together():
    for precision in (Precision.FP32, Precision.FP16, Precision.BF16):
        assert precision_of(precision.dtype) == precision
    assert precision_of(ir.DataType.DOUBLE) is None
    with pytest.raises(KeyError):
        Precision.NONE.dtype
