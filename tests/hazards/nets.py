"""Small nets that 16 bits ruin: each holds one hazard, with data as its users have it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx

Feeds = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Hazard:
    """A net as ONNX text without its header, and a function from a generator to samples of its inputs."""

    graph: str
    samples: Callable[[np.random.Generator], Feeds]
    opset: int = 17

    def model(self) -> onnx.ModelProto:
        """The net."""
        return onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": {self.opset}]>\n{self.graph}')


def _normal(mean: float, deviation: float, *shape: int) -> Callable[[np.random.Generator], Feeds]:
    return lambda rng: {"x": rng.normal(mean, deviation, (16, *shape)).astype(np.float32)}


def _uniform(low: float, high: float, *shape: int) -> Callable[[np.random.Generator], Feeds]:
    return lambda rng: {"x": rng.uniform(low, high, (16, *shape)).astype(np.float32)}


def _pair(mean: float, deviation: float, *shape: int) -> Callable[[np.random.Generator], Feeds]:
    return lambda rng: {name: rng.normal(mean, deviation, (16, *shape)).astype(np.float32) for name in ("x", "z")}


def _one_ruined_batch(rng: np.random.Generator) -> Feeds:
    """Sixty samples far from the constant that is subtracted, and four close to it, with outputs as large."""
    x, gain = rng.normal(0.0, 1.0, (64, 8)), np.ones((64, 1))
    x[20:24] = 93.15 + rng.normal(0.0, 0.5, (4, 8))
    gain[20:24] = 100.0
    return {"x": x.astype(np.float32), "gain": gain.astype(np.float32)}


def _grid(rng: np.random.Generator) -> Feeds:
    image = rng.normal(0.0, 1.0, (16, 1, 512, 512))
    return {"image": image.astype(np.float32), "grid": rng.uniform(-1, 1, (16, 8, 8, 2)).astype(np.float32)}


def _with_zero_row(rng: np.random.Generator) -> Feeds:
    x = rng.uniform(0.5, 1.0, (16, 8))
    x[3] = 0.0
    return {"x": x.astype(np.float32)}


def _with_rare_zero_row(rng: np.random.Generator) -> Feeds:
    """One row of zeros among so many that no share of vanishing elements tells of it."""
    x = rng.uniform(0.5, 1.0, (256, 8))
    x[77] = 0.0
    return {"x": x.astype(np.float32)}


HAZARDS: Mapping[str, Hazard] = {
    "kelvin": Hazard(
        """g (float[N, 8] x) => (float[N, 8] y) <float zero = {293.15}, float scale = {0.5}> {
          [subtract] d = Sub(x, zero) [scale] y = Div(d, scale) }""",
        _normal(293.15, 0.5, 8),
    ),
    "difference of coordinates": Hazard(
        "g (float[N, 8] x, float[N, 8] z) => (float[N, 8] y) { [subtract] y = Sub(x, z) }", _pair(48.137, 0.05, 8)
    ),
    "variance as difference of means": Hazard(
        """g (float[N, 64] x) => (float[N, 1] y) {
          [square] s = Mul(x, x) [mean_of_squares] a = ReduceMean<axes = [1]>(s) [mean] m = ReduceMean<axes = [1]>(x)
          [square_of_mean] b = Mul(m, m) [subtract] y = Sub(a, b) }""",
        _normal(12.0, 1.0, 64),
    ),
    "log of 1 plus little": Hazard(
        """g (float[N, 8] x) => (float[N, 8] y) <float one = {1}> {
          [exp] e = Exp(x) [add] a = Add(e, one) [log] y = Log(a) }""",
        _uniform(-9.0, -5.0, 8),
    ),
    "1 minus sigmoid": Hazard(
        """g (float[N, 8] x) => (float[N, 8] y) <float one = {1}> {
          [sigmoid] s = Sigmoid(x) [subtract] y = Sub(one, s) }""",
        _uniform(4.0, 7.0, 8),
    ),
    "exp minus 1": Hazard(
        "g (float[N, 8] x) => (float[N, 8] y) <float one = {1}> { [exp] e = Exp(x) [subtract] y = Sub(e, one) }",
        _normal(0.0, 0.01, 8),
    ),
    "positions modulo 16": Hazard(
        """g (float[N, 8] x) => (float[N, 8] y) <float cycle = {16}> { [modulo] y = Mod<fmod = 1>(x, cycle) }""",
        _uniform(0.0, 500.0, 8),
    ),
    "differences of a cumulative sum": Hazard(
        """g (float[N, 64] x) => (float[N, 63] y)
          <int64 axis = {1}, int64[1] one = {1}, int64[1] zero = {0}, int64[1] end = {64}, int64[1] last = {63},
           int64[1] axes = {1}> {
          [sum] c = CumSum(x, axis) [later] a = Slice(c, one, end, axes) [earlier] b = Slice(c, zero, last, axes)
          [subtract] y = Sub(a, b) }""",
        _uniform(0.5, 1.0, 64),
    ),
    "squared distance by its expansion": Hazard(
        """g (float[N, 32] x, float[N, 32] z) => (float[N, 1] y) <float two = {2}> {
          [xx] a = ReduceSumSquare<axes = [1]>(x) [zz] b = ReduceSumSquare<axes = [1]>(z) [xz] p = Mul(x, z)
          [axis] q = ReduceMean<axes = [1]>(p) [count] c = Constant<value_float = 32.0>() [dot] d = Mul(q, c)
          [twice] t = Mul(d, two) [add] s = Add(a, b) [subtract] y = Sub(s, t) }""",
        lambda rng: {
            "x": (base := rng.normal(3.0, 0.1, (16, 32))).astype(np.float32),
            "z": (base + rng.normal(0.0, 0.05, (16, 32))).astype(np.float32),
        },
    ),
    "log of a sigmoid near 1": Hazard(
        """g (float[N, 8] x) => (float[N, 8] y) <float guard = {1e-8}> {
          [sigmoid] s = Sigmoid(x) [add] a = Add(s, guard) [log] y = Log(a) }""",
        _uniform(4.0, 7.0, 8),
    ),
    "grid sample of 512 pixels": Hazard(
        """g (float[N, 1, 512, 512] image, float[N, 8, 8, 2] grid) => (float[N, 1, 8, 8] y) {
          [sample] y = GridSample<mode = "linear", align_corners = 1>(image, grid) }""",
        _grid,
        opset=20,
    ),
    "phase of a cumulative sum": Hazard(
        """g (float[N, 256] x) => (float[N, 256] y) <int64 axis = {1}, float turn = {6.2831853}> {
          [sum] c = CumSum(x, axis) [phase] p = Mul(c, turn) [sine] y = Sin(p) }""",
        _uniform(0.1, 0.4, 256),
    ),
    "reciprocal of a small difference": Hazard(
        """g (float[N, 8] x) => (float[N, 8] y) <float one = {1}> {
          [subtract] d = Sub(x, one) [invert] y = Reciprocal(d) }""",
        _uniform(1.005, 1.05, 8),
    ),
    "guard that becomes 0": Hazard(
        """g (float[N, 8] x) => (float[N, 8] y) <float guard = {1e-12}> {
          [norm] n = ReduceL2<axes = [1], keepdims = 1>(x) [guard] g = Clip(n, guard) [divide] y = Div(x, g) }""",
        _with_zero_row,
    ),
    "guard behind an Expand": Hazard(
        """g (float[N, 8] x) => (float[N, 8] y) <float guard = {1e-12}, int64[2] shape = {1, 8}> {
          [norm] n = ReduceL2<axes = [1], keepdims = 1>(x) [guard] g = Clip(n, guard) [expand] e = Expand(g, shape)
          [divide] y = Div(x, e) }""",
        _with_rare_zero_row,
    ),
    "guard of a sum": Hazard(
        """g (float[N, 8] x) => (float[N, 8] y) <float guard = {1e-9}> {
          [sum] s = ReduceL1<axes = [1], keepdims = 1>(x) [guard] g = Add(s, guard) [divide] y = Div(x, g) }""",
        _with_rare_zero_row,
    ),
    "guard whose reciprocal is infinite": Hazard(
        """g (float[N, 8] x) => (float[N, 8] y) <float guard = {1e-12}> {
          [squares] s = ReduceSumSquare<axes = [1], keepdims = 1>(x) [guard] g = Max(s, guard) [root] r = Sqrt(g)
          [invert] i = Reciprocal(r) [scale] y = Mul(x, i) }""",
        _with_rare_zero_row,
    ),
    "guard of a logarithm": Hazard(
        """g (float[N, 8] x) => (float[N, 8] y) <float guard = {1e-10}> {
          [guard] g = Add(x, guard) [logarithm] y = Log(g) }""",
        _with_rare_zero_row,
    ),
    "one ruined batch": Hazard(
        """g (float[N, 8] x, float[N, 1] gain) => (float[N, 8] y) <float zero = {93.15}> {
          [subtract] d = Sub(x, zero) [scale] y = Mul(d, gain) }""",
        _one_ruined_batch,
    ),
    "best of near ties": Hazard(
        """g (float[N, 512] x) => (int64[N] y) <float zero = {100}> {
          [add] s = Add(x, zero) [best] y = ArgMax<axis = 1, keepdims = 0>(s) }""",
        _normal(0.0, 0.01, 512),
    ),
    "durations that become lengths": Hazard(
        """g (float[N, 8] x) => (int64[N, 8] y) <float scale = {100}> {
          [scale] s = Mul(x, scale) [round_up] c = Ceil(s) [whole] y = Cast<to = 7>(c) }""",
        _uniform(3.0, 5.0, 8),
    ),
}
