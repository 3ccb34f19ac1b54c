"""Values beyond FP16's range, in calibration or only later, and large values that do no harm."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tests.hazards.hazard import Feeds, Hazard, matrix, normal, uniform


def _residual_stream(rng: np.random.Generator) -> Feeds:
    """Hidden states as of Gemma and T5: two channels are thousands, the rest is small."""
    x = rng.normal(0.0, 5.0, (16, 64))
    x[:, 7], x[:, 40] = rng.normal(3000.0, 200.0, 16), rng.normal(-1500.0, 100.0, 16)
    return {"x": x.astype(np.float32)}


def _outlier_channels(rng: np.random.Generator) -> Feeds:
    """One channel a thousand times as large as the others, whose weights are as small."""
    x = rng.normal(0.0, 1.0, (16, 64))
    x[:, 3] *= 2000.0
    return {"x": x.astype(np.float32)}


_RMS_NORM = """g (float[N, 64] x) => (float[N, 64] y) <float epsilon = {1e-6}> {
  [square] s = Mul(x, x) [mean] m = ReduceMean<axes = [1]>(s) [guard] g = Add(m, epsilon) [root] r = Sqrt(g)
  [divide] y = Div(x, r) }"""
_GELU = """g (float[N, 64] x) => (float[N, 64] y)
  <float three = {3}, float a = {0.044715}, float b = {0.7978846}, float one = {1}, float half = {0.5}> {
  [cube] c = Pow(x, three) [weigh] d = Mul(c, a) [add] e = Add(x, d) [scale] f = Mul(e, b) [squash] t = Tanh(f)
  [shift] s = Add(t, one) [halve] h = Mul(x, half) [gate] y = Mul(h, s) }"""
_LOG_SUM_EXP = """g (float[N, 64] x) => (float[N, 1] y) <int64[1] last = {1}> {
  [exp] e = Exp(x) [sum] s = ReduceSum(e, last) [logarithm] y = Log(s) }"""
_OVERFLOWING_SUM = """g (float[N, 4096] x) => (float[N, 1] y) <int64[1] last = {1}, float scale = {0.001}> {
  [sum] s = ReduceSum(x, last) [scale] y = Mul(s, scale) }"""

LARGE_VALUES: Mapping[str, Hazard] = {
    "RMSNorm of a residual stream": Hazard(_RMS_NORM, _residual_stream),
    "exp before log-sum-exp": Hazard(_LOG_SUM_EXP, normal(9.0, 2.0, 64)),
    "exp of larger arguments than in calibration": Hazard(
        _LOG_SUM_EXP, uniform(-2.0, 6.0, 64), unseen=uniform(-2.0, 12.0, 64)
    ),
    "squares of larger values than in calibration": Hazard(
        """g (float[N, 64] x) => (float[N, 64] y) <float unit = {0.001}> {
          [square] s = Mul(x, x) [scale] y = Mul(s, unit) }""",
        uniform(-40.0, 40.0, 64),
        unseen=uniform(-300.0, 300.0, 64),
    ),
    "sum of thousands": Hazard(_OVERFLOWING_SUM, uniform(20.0, 60.0, 4096)),
    "weight beyond the range": Hazard(
        """g (float[N, 8] x) => (float[N, 8] y) <float far = {4e5}, float unit = {1e-5}> {
          [shift] s = Add(x, far) [scale] y = Mul(s, unit) }""",
        normal(0.0, 1e5, 8),
    ),
    "large biases that cancel": Hazard(
        """g (float[N, 32] x) => (float[N, 16] y) <float bias = {3000}> {
          [product] p = MatMul(x, w) [bias] b = Add(p, bias) [activate] a = Relu(b) [unbias] y = Sub(a, bias) }""",
        normal(0.0, 1.0, 32),
        weights=matrix(0.2, 32, 16),
    ),
    "areas of boxes in pixels": Hazard(
        """g (float[N, 16, 4] x) => (float[N, 16] y)
          <int64 zero = {0}, int64 one = {1}, int64 two = {2}, int64 three = {3}, float unit = {1e-4}> {
          [left] a = Gather<axis = 2>(x, zero) [top] b = Gather<axis = 2>(x, one) [right] c = Gather<axis = 2>(x, two)
          [bottom] d = Gather<axis = 2>(x, three) [width] w = Sub(c, a) [height] h = Sub(d, b) [area] s = Mul(w, h)
          [scale] y = Mul(s, unit) }""",
        lambda rng: {
            "x": np.concatenate(
                [(corner := rng.uniform(0, 900, (16, 16, 2))), corner + rng.uniform(300, 1000, (16, 16, 2))], axis=2
            ).astype(np.float32)
        },
    ),
    "mean of squares of audio samples": Hazard(
        """g (float[N, 256] x) => (float[N, 1] y) <float unit = {1e-6}> {
          [square] s = Mul(x, x) [mean] m = ReduceMean<axes = [1]>(s) [scale] y = Mul(m, unit) }""",
        normal(0.0, 2500.0, 256),
    ),
    "GELU of ordinary values": Hazard(_GELU, normal(0.0, 1.5, 64), harmless=True),
    "cube of GELU where its tanh saturates": Hazard(_GELU, normal(0.0, 30.0, 64), harmless=True),
    "RMSNorm of ordinary values": Hazard(_RMS_NORM, normal(0.0, 2.0, 64), harmless=True),
    "log-sum-exp of small scores": Hazard(_LOG_SUM_EXP, normal(2.0, 1.0, 64), harmless=True),
    "outlier channel with small weights": Hazard(
        "g (float[N, 64] x) => (float[N, 16] y) { [product] y = MatMul(x, w) }",
        _outlier_channels,
        weights=lambda rng: {"w": rng.normal(0.0, 0.1, (64, 16)) * np.where(np.arange(64) == 3, 0.0005, 1.0)[:, None]},
        harmless=True,
    ),
    "values of thousands through a linear layer": Hazard(
        "g (float[N, 64] x) => (float[N, 16] y) { [product] p = MatMul(x, w) [activate] y = Relu(p) }",
        normal(0.0, 900.0, 64),
        weights=matrix(0.1, 64, 16),
        harmless=True,
    ),
    "heavy tails through a linear layer": Hazard(
        "g (float[N, 64] x) => (float[N, 16] y) { [product] p = MatMul(x, w) [activate] y = Relu(p) }",
        lambda rng: {"x": (rng.standard_t(2.5, (16, 64)) * 10.0).astype(np.float32)},
        weights=matrix(0.1, 64, 16),
        unseen=lambda rng: {"x": (rng.standard_t(2.5, (64, 64)) * 40.0).astype(np.float32)},
        harmless=True,
    ),
    "mean of many": Hazard(
        """g (float[N, 4096] x) => (float[N, 1] y) { [mean] y = ReduceMean<axes = [1]>(x) }""",
        uniform(20.0, 60.0, 4096),
        harmless=True,
    ),
}
