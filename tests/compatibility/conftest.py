import onnx
import onnx.parser
import pytest

from autocast_core import convert_to_mixed_precision
from tests.compatibility.converted import CHAIN, ConvertedModel


@pytest.fixture
def saved(tmp_path):
    """Writes a model, given as text or protobuf, to a file and returns its path."""

    def save(model=CHAIN, name="model.onnx"):
        proto = model if isinstance(model, onnx.ModelProto) else onnx.parser.parse_model(model)
        onnx.save(proto, tmp_path / name)
        return str(tmp_path / name)

    return save


@pytest.fixture
def convert(saved):
    """Converts a model as an AutoCast script does, checks that the result is valid, and returns it."""

    def convert(model=CHAIN, *arguments, **options):
        found = convert_to_mixed_precision(saved(model), *arguments, **options)
        onnx.checker.check_model(found, full_check=all(each.domain == "" for each in found.graph.node))
        return ConvertedModel(found)

    return convert
