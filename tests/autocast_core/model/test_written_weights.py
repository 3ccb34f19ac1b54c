"""Converted weights that several models read from one file."""

import numpy as np
import onnx_ir as ir

from autocast_core.model import ConvertedTensor, FileTensor, WrittenWeights

LARGE = np.linspace(-7e4, 7e4, 40_000, dtype=np.float32)
SMALL = np.float32([1.1, 2.2])


def converted(*sources, dtype=ir.DataType.FLOAT16):
    """A model whose initializers are the `sources`, converted."""
    values = [ir.Value(name=f"w{n}", const_value=ConvertedTensor(source, dtype)) for n, source in enumerate(sources)]
    return ir.Model(ir.Graph([], [], nodes=[], initializers=values, name="g"), ir_version=9)


def weights(model):
    return [value.const_value for value in model.graph.initializers.values()]


def test_a_large_weight_is_written_once_for_all_models_and_keeps_its_values(tmp_path):
    source, written = ir.Tensor(LARGE), WrittenWeights(tmp_path)
    models = [converted(source), converted(source)]
    expected = weights(models[0])[0].numpy()
    for model in models:
        written.read_by(model)
    found = [weights(model)[0] for model in models]
    assert all(type(tensor) is FileTensor and np.array_equal(tensor.numpy(), expected) for tensor in found)
    assert found[0] is not found[1] and [path.stat().st_size for path in tmp_path.iterdir()] == [2 * LARGE.size]


def test_each_type_of_a_weight_is_written(tmp_path):
    source, written = ir.Tensor(LARGE), WrittenWeights(tmp_path)
    models = [converted(source), converted(source, dtype=ir.DataType.BFLOAT16)]
    for model in models:
        written.read_by(model)
    assert [weights(model)[0].dtype for model in models] == [ir.DataType.FLOAT16, ir.DataType.BFLOAT16]
    assert len(list(tmp_path.iterdir())) == 2


def test_small_weights_and_those_that_nothing_converts_stay_as_they_are(tmp_path):
    model = converted(ir.Tensor(SMALL))
    model.graph.register_initializer(ir.Value(name="exact", const_value=ir.Tensor(LARGE, name="exact")))
    before = weights(model)
    WrittenWeights(tmp_path).read_by(model)
    assert all(left is right for left, right in zip(weights(model), before, strict=True))
    assert not list(tmp_path.iterdir())
