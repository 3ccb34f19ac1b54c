"""Small tensors in the branches of Ifs, as they are handed out of them."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from autocast_core.backends.onnxruntime import OnnxRuntime
from autocast_core.calibrate import TensorStats, calibrate
from autocast_core.calibrate.instrument import instrumented
from autocast_core.calibrate.tensor_sizes import sizes_of
from autocast_core.config import Precision
from autocast_core.data import input_specs, open_batches
from autocast_core.model.protobuf.serde import deserialize

FP16 = Precision.FP16

IFS = """<ir_version: 10, opset_import: ["" : 18]>
g (float[1, 2] x) => (float[1, 2] y) {
    zero = Constant <value_float = 0.0> ()
    sum = ReduceSum <keepdims = 0> (x)
    positive = Greater(sum, zero)
    y = If (positive) <
        then_branch = t () => (float[1, 2] yt) {
            top = ReduceMax <keepdims = 0> (x)
            one = Constant <value_float = 1.0> ()
            large = Greater(top, one)
            yt = If (large) <
                then_branch = tt () => (float[1, 2] log) { log = Log(x) },
                else_branch = te () => (float[1, 2] half) { half = Mul(x, one) }>
        },
        else_branch = e () => (float[1, 2] ye) { ye = Neg(x) }>
}"""
BATCHES = np.array([[3.0, 0.0], [0.5, 0.25], [-1.0, 0.5], [-3.0, 1.0]], np.float32)


@pytest.fixture
def model() -> ir.Model:
    proto = onnx.shape_inference.infer_shapes(onnx.parser.parse_model(IFS), data_prop=True)
    return deserialize(proto, "m.onnx")


def test_each_batch_counts_in_the_branch_that_it_took(model):
    batches = open_batches({"x": BATCHES}, input_specs(model))
    found = calibrate(model, batches, OnnxRuntime(threads=1), FP16).tensors
    assert (found["top"].count, found["top"].min, found["top"].max) == (2, 0.5, 3.0)
    assert (found["log"].count, found["log"].nonfinite, found["log"].min) == (2, 1, -np.inf)
    assert (found["half"].count, found["half"].min, found["half"].max) == (2, 0.25, 0.5)
    assert (found["ye"].count, found["ye"].min, found["ye"].max) == (4, -1.0, 3.0)
    assert found["ye"].batches == 2
    expected = TensorStats.of(-BATCHES[2:], FP16)
    assert (found["ye"].nonzero, found["ye"].sum_squares) == (expected.nonzero, pytest.approx(expected.sum_squares))


def test_an_if_gets_one_output_and_two_nodes_for_each_small_tensor(model):
    sizes = sizes_of(model, {"x": BATCHES[:1]})
    before = _nodes(model)
    with instrumented(model, sizes, FP16, small=True) as probes:
        assert {"top", "log", "half", "yt", "ye"} <= set(probes.whole_names)
        assert probes.exact == ()
        inside = _nodes(model) - before
    assert inside <= 3 * 5, "more than three nodes for each of five tensors"
    assert _nodes(model) == before
    assert [len(node.outputs) for node in model.graph if node.op_type == "If"] == [1]


def _nodes(model):
    return sum(1 for _ in model.graph.all_nodes())
