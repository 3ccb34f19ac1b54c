"""The smallest sub-models that show a culprit."""

import numpy as np
import onnx
import pytest

from autocast_core.backends.onnxruntime import OnnxRuntime
from autocast_core.diagnose.reproduction.reproduction import reproduction
from autocast_core.diagnose.reproduction.sub_models import node_count, weights
from autocast_core.errors import ModelError
from autocast_core.model import load_proto
from autocast_core.simulate import Accumulate
from tests.autocast_core.diagnose.diagnosed import diagnosed, model, normal, whole_fp16

RUNTIME = OnnxRuntime(("cpu",), threads=1)
IO = "(float[N, 16] x) => (float[N, 16] y)"
DATA = {"x": np.abs(normal(8, 16)) + 0.6}


def reproduced(source, candidate, data=DATA):
    found = diagnosed(source, candidate, data)
    return reproduction(load_proto(source), load_proto(candidate), found, RUNTIME)


def operators(model):
    return [node.op_type for node in model.graph]


def test_the_node_that_overflows_is_alone_in_both_types():
    source = model("a = Mul(x, k)\nb = Mul(a, a)\nc = Div(a, b)\nd = Mul(c, k)\ny = Add(d, x)", IO, "float k = {500.0}")
    found = reproduced(source, whole_fp16(source))
    assert operators(found.fault.candidate) == operators(found.fault.reference) == ["Mul"]
    assert str(found.fault.candidate.graph.inputs[0].dtype) == "FLOAT16"
    assert str(found.fault.reference.graph.inputs[0].dtype) == "FLOAT"
    assert np.isinf(found.shown.found).all() and np.isfinite(found.shown.expected).all()
    assert found.title == f"Overflow at graph/{next(iter(found.fault.candidate.graph)).name} (Mul)"


def test_weights_and_batch_are_cut_to_what_shows_the_fault():
    """Of 64 x 384 weights one column overflows."""
    rng = np.random.default_rng(3)
    weight = rng.normal(size=(64, 384)).astype(np.float32) * 0.1
    weight[:, 217] = 3000.0
    source = model(
        "h = MatMul(x, w)\ns = Mul(h, k)\ny = Sin(s)", "(float[N, 64] x) => (float[N, 384] y)", "float k = {1e-5}"
    )
    source.graph.initializer.append(onnx.numpy_helper.from_array(weight, "w"))
    found = reproduced(source, whole_fp16(source), {"x": np.abs(normal(8, 64)) + 1})
    assert operators(found.fault.candidate) == ["MatMul"]
    sizes = [array.nbytes for array in weights(found.fault.candidate).values()]
    assert sum(sizes) <= 2048 < 2 * weight.size
    assert np.isinf(found.shown.found).any()
    assert weights(found.fault.candidate)["w"].max() == np.float16(3000.0)


def test_a_lost_operand_keeps_the_references_own_nodes():
    io = "(float[N, 16] x, float[N, 16] mask) => (float[N, 16] y)"
    source = model("m = Add(x, mask)\ns = Softmax(m)\ny = Mul(s, x)", io)
    other = model("s = Softmax(x)\ny = Mul(s, x)\nunused = Identity(mask)", io)
    found = reproduced(source, other, {"x": DATA["x"], "mask": normal(8, 16, seed=1)})
    assert operators(found.fault.candidate) == ["Softmax"]
    assert operators(found.fault.reference) == ["Add", "Softmax"]
    assert set(found.fault.reference_feeds) == {"x", "mask"} and not found.is_simulated


def test_nodes_of_an_exporter_s_scope_called_graph_are_found_in_the_reference():
    source = model("a = Mul(x, k)\nb = Mul(a, a)\nc = Div(a, b)\nd = Mul(c, k)\ny = Add(d, x)", IO, "float k = {500.0}")
    for number, node in enumerate(source.graph.node):
        node.name = f"/graph/layer/{node.op_type}_{number}"
    found = reproduced(source, whole_fp16(source))
    assert found.culprit.reference_nodes == ("graph//graph/layer/Mul_1",)
    assert not found.same_nodes and operators(found.fault.reference) == ["Mul"]


def test_a_cast_that_the_reference_does_not_have_is_beside_what_it_gave():
    source = model("a = Mul(x, x)\ny = Tanh(a)", IO)
    other = model("a = Mul(x, x)\ni = Cast <to = 6> (a)\nf = Cast <to = 1> (i)\ny = Tanh(f)", IO)
    found = reproduced(source, other)
    assert found.fault.reference is None
    assert not np.array_equal(found.shown.expected, found.shown.found)


def test_a_part_of_more_than_12_nodes_in_the_reference_gives_way_to_the_candidates_nodes_in_fp32():
    """The candidate's one node stands for thirteen of the reference's."""
    steps = "\n".join(f"a{n + 1} = Add(a{n}, a{n})" for n in range(13))
    source = model(f"a0 = Abs(x)\n{steps}\ny = Identity(a13)", IO)
    other = model("a0 = Abs(x)\na13 = Mul(a0, k)\ny = Identity(a13)", IO, "float k = {8192.0}")
    found = reproduced(source, whole_fp16(other), {"x": DATA["x"] * 20})
    assert found.same_nodes and operators(found.fault.reference) == operators(found.fault.candidate)
    assert node_count(found.fault.reference) <= 12
    assert np.isinf(found.shown.found).any()


def test_sums_that_round_are_reproduced_with_the_accumulation_that_found_them():
    weight = np.full((512, 8), 0.1, np.float32)
    source = model("y = MatMul(x, w)", "(float[N, 512] x) => (float[N, 8] y)")
    source.graph.initializer.append(onnx.numpy_helper.from_array(weight, "w"))
    candidate, data = whole_fp16(source), {"x": np.abs(normal(8, 512)) + 1}
    assert not diagnosed(source, candidate, data, tolerance_db=65.0).diverges
    found = diagnosed(source, candidate, data, accumulate=Accumulate.FP16, tolerance_db=65.0)
    made = reproduction(load_proto(source), load_proto(candidate), found, RUNTIME, Accumulate.FP16)
    assert operators(made.fault.candidate) == ["MatMul"]
    assert made.rel_l2 >= 0.5 * found.culprits[0].own > 0


def test_models_that_agree_have_nothing_to_reproduce():
    source = model("y = Tanh(x)", IO)
    with pytest.raises(ModelError, match="there is no culprit to reproduce"):
        reproduced(source, source)
