import onnx
import onnx.parser
import pytest

from autocast_core.errors import ModelError
from autocast_core.model import load_proto


def test_an_axis_beyond_32_bits_is_refused_by_node():
    """ONNX Runtime reads 4294967296 as 0 in FP32 and refuses it in FP16."""
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["": 17]>
        g (float[2,4] x) => (float[2,4] y) { [soft] y = Softmax <axis = 4294967296> (x) }"""
    )
    with pytest.raises(ModelError, match=r"node 'soft' \(Softmax\): attribute 'axis' names the axis 4294967296"):
        load_proto(model)
