"""Small tensors whose losses vanish in the sums that they end in, and those whose do not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx
import pytest

from autocast_core import ConversionConfig
from autocast_core.pipeline.convert import planning_stages
from autocast_core.pipeline.job import Job
from autocast_core.pipeline.stage import in_this_process, run_stages
from autocast_core.pipeline.stages.load import LOAD
from autocast_core.plan import PrecisionPlan


def kept(
    graph: str, feeds: Mapping[str, np.ndarray], decide: str, weights: Mapping[str, np.ndarray], **options
) -> set[str]:
    """The names of the nodes that `small_values` keeps."""
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": 17]>\n{graph}')
    model.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in weights.items())
    job = Job(model, ConversionConfig(decide=decide, **options), calibration=dict(feeds))
    plan = run_stages((LOAD, *planning_stages(job.config)), in_this_process(job))[PrecisionPlan]
    return {each.id.removeprefix("graph/") for each in plan.nodes if each.rule == "small_values"}


def normal(*shape: int, scale: float = 1.0, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(np.float32)


def decayed(*shape: int, channels: int) -> np.ndarray:
    """Weights of which the first output channels have decayed to nothing."""
    found = normal(*shape, scale=0.05)
    found[:channels] *= 1e-8
    return found


def probabilities(*shape: int, deviation: float) -> np.ndarray:
    scores = np.exp(normal(*shape, scale=deviation))
    return (scores / scores.sum(-1, keepdims=True)).astype(np.float32)


@dataclass(frozen=True)
class Net:
    """A graph with its data; `kept` by thresholds, `needed` by measurement as well."""

    graph: str
    feeds: Mapping[str, np.ndarray]
    kept: set[str]
    needed: set[str]
    weights: Mapping[str, np.ndarray] = field(default_factory=dict)


LAYER_SCALE = """g (float[4, 8, 64] x) => (float[4, 8, 64] y) <float[64] gamma> {
  [scale] s = Mul(x, gamma) [residual] y = Add(x, s) }"""
RMS_NORM = """g (float[4, 8, 64] x) => (float[4, 8, 64] y) <float epsilon = {1e-6}, float two = {2}> {
  [square] s = Pow(x, two) [mean] m = ReduceMean<axes = [-1]>(s) [guard] a = Add(m, epsilon) [root] r = Sqrt(a)
  [normalize] y = Div(x, r) }"""
CUBE = """g (float[4, 8, 64] x) => (float[4, 8, 64] y) <float three = {3}, float c = {0.044715}> {
  [cube] p = Pow(x, three) [scale] s = Mul(p, c) [add] a = Add(x, s) [tanh] y = Tanh(a) }"""
ATTENTION = (
    """g (float[2, 4, 32, 32] p, float[2, 4, 32, 16] v) => (float[2, 4, 32, 16] y) { [values] y = MatMul(p, v) }"""
)
ENTROPY = "g (float[2, 4, 32, 32] p) => (float[2, 4, 32, 32] y) { [logarithm] y = Log(p) }"
BANDS = """g (float[4, 64] x) => (float[4, 8] y) <float[64, 8] filters, float little = {1e-7}> {
  [power] p = Mul(x, x) [bands] b = MatMul(p, filters) [guard] a = Max(b, little) [logarithm] y = Log(a) }"""
CONV = "g (float[1, 64, 8, 8] x) => (float[1, 64, 6, 6] y) <float[64, 64, 3, 3] w> { [conv] y = Conv(x, w) }"
NORMALIZED = """g (float[1, 64, 8, 8] x) => (float[1, 64, 6, 6] y)
  <float[64, 64, 3, 3] w, float[64] scale, float[64] shift, float[64] mean, float[64] variance> {
  [conv] c = Conv(x, w) [norm] y = BatchNormalization(c, scale, shift, mean, variance) }"""
ZEROS = np.zeros(64, np.float32)
LITTLE_VARIANCE = np.where(np.arange(64) < 4, np.float32(1e-12), np.float32(1.0))

NETS = {
    "a layer scale in front of a residual sum": Net(
        LAYER_SCALE, {"x": normal(4, 8, 64)}, {"scale", "residual"}, set(), {"gamma": np.full(64, 1e-6, np.float32)}
    ),
    "a layer scale in front of the output": Net(
        "g (float[4, 8, 64] x) => (float[4, 8, 64] y) <float[64] gamma> { [scale] y = Mul(x, gamma) }",
        {"x": normal(4, 8, 64)},
        {"scale"},
        {"scale"},
        {"gamma": np.full(64, 1e-6, np.float32)},
    ),
    "an epsilon beside a variance of 1": Net(RMS_NORM, {"x": normal(4, 8, 64)}, {"guard"}, set()),
    "a variance beside an epsilon of its size": Net(
        RMS_NORM,
        {"x": normal(4, 8, 64, scale=1e-3)},
        {"square", "mean", "guard", "root"},
        {"square", "mean", "guard", "root"},
    ),
    "the cube of a tanh GELU": Net(CUBE, {"x": normal(4, 8, 64, scale=0.02)}, {"cube", "scale", "add"}, set()),
    "probabilities that multiply values": Net(
        ATTENTION, {"p": probabilities(2, 4, 32, 32, deviation=6.0), "v": normal(2, 4, 32, 16)}, {"values"}, set()
    ),
    "probabilities in front of a logarithm": Net(
        ENTROPY, {"p": probabilities(2, 4, 32, 32, deviation=6.0)}, {"logarithm"}, {"logarithm"}
    ),
    "quiet bands of a loud spectrum in front of a logarithm": Net(
        BANDS,
        {"x": normal(4, 64) * np.where(np.arange(64) < 32, np.float32(1.0), np.float32(1e-4))},
        {"power", "bands", "guard"},
        {"power", "bands"},  # the guard only picks what the logarithm reads in 16 bits, so it is placed there
        {"filters": np.repeat(np.eye(8, dtype=np.float32), 8, axis=0)},
    ),
    "decayed weights": Net(CONV, {"x": normal(1, 64, 8, 8)}, {"conv"}, set(), {"w": decayed(64, 64, 3, 3, channels=4)}),
    "decayed weights in front of a normalization of channels": Net(
        NORMALIZED,
        {"x": normal(1, 64, 8, 8)},
        {"conv", "norm"},
        {"conv", "norm"},
        {
            "w": decayed(64, 64, 3, 3, channels=4),
            "scale": np.where(np.arange(64) < 4, np.float32(3e3), np.float32(1.0)),
            "shift": ZEROS,
            "mean": ZEROS,
            "variance": LITTLE_VARIANCE,
        },
    ),
}


@pytest.mark.parametrize("name", NETS)
def test_thresholds_judge_a_small_tensor_alone(name):
    net = NETS[name]
    assert kept(net.graph, net.feeds, "thresholds", net.weights, data_max=1e4) == net.kept


@pytest.mark.parametrize("name", NETS)
def test_measurement_judges_a_small_tensor_by_the_sum_that_it_ends_in(name):
    net = NETS[name]
    assert kept(net.graph, net.feeds, "measured", net.weights, data_max=1e4) == net.needed
