"""Differences of near-equal numbers: what rounding leaves of them, and differences that only look like those."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tests.hazards.hazard import Feeds, Hazard, normal, uniform


def _one_ruined_batch(rng: np.random.Generator) -> Feeds:
    """Sixty samples far from the constant that is subtracted, and four close to it, with outputs as large."""
    x, gain = rng.normal(0.0, 1.0, (64, 8)), np.ones((64, 1))
    x[20:24] = 93.15 + rng.normal(0.0, 0.5, (4, 8))
    gain[20:24] = 100.0
    return {"x": x.astype(np.float32), "gain": gain.astype(np.float32)}


def _few_close_elements(rng: np.random.Generator) -> Feeds:
    """One element in 16 lies close to the constant; what divides by its distance makes it count."""
    x = rng.normal(0.0, 30.0, (16, 64))
    x[:, ::16] = 93.15 + rng.normal(0.0, 0.05, (16, 4))
    return {"x": x.astype(np.float32)}


def _near_equal(deviation: float) -> Hazard:
    return Hazard(
        """g (float[N, 32] x, float[N, 32] z) => (float[N, 1] y) <float two = {2}, float count = {32}> {
          [xx] a = ReduceSumSquare<axes = [1]>(x) [zz] b = ReduceSumSquare<axes = [1]>(z) [xz] p = Mul(x, z)
          [axis] q = ReduceMean<axes = [1]>(p) [dot] d = Mul(q, count) [twice] t = Mul(d, two) [add] s = Add(a, b)
          [subtract] y = Sub(s, t) }""",
        lambda rng: {
            "x": (base := rng.normal(3.0, 0.1, (16, 32))).astype(np.float32),
            "z": (base + rng.normal(0.0, deviation, (16, 32))).astype(np.float32),
        },
        harmless=deviation > 1.0,
    )


_VARIANCE = """g (float[N, 64] x) => (float[N, 1] y) {
  [square] s = Mul(x, x) [mean_of_squares] a = ReduceMean<axes = [1]>(s) [mean] m = ReduceMean<axes = [1]>(x)
  [square_of_mean] b = Mul(m, m) [subtract] y = Sub(a, b) }"""

CANCELLATION: Mapping[str, Hazard] = {
    "kelvin": Hazard(
        """g (float[N, 8] x) => (float[N, 8] y) <float zero = {293.15}, float scale = {0.5}> {
          [subtract] d = Sub(x, zero) [scale] y = Div(d, scale) }""",
        normal(293.15, 0.5, 8),
    ),
    "difference of coordinates": Hazard(
        "g (float[N, 8] x, float[N, 8] z) => (float[N, 8] y) { [subtract] y = Sub(x, z) }",
        normal(48.137, 0.05, 8, names="x z"),
    ),
    "variance as difference of means": Hazard(_VARIANCE, normal(12.0, 1.0, 64)),
    "variance of pixels as difference of means": Hazard(_VARIANCE, normal(190.0, 4.0, 64)),
    "exp minus 1": Hazard(
        "g (float[N, 8] x) => (float[N, 8] y) <float one = {1}> { [exp] e = Exp(x) [subtract] y = Sub(e, one) }",
        normal(0.0, 0.01, 8),
    ),
    "differences of a cumulative sum": Hazard(
        """g (float[N, 64] x) => (float[N, 63] y)
          <int64 axis = {1}, int64[1] one = {1}, int64[1] zero = {0}, int64[1] end = {64}, int64[1] last = {63},
           int64[1] axes = {1}> {
          [sum] c = CumSum(x, axis) [later] a = Slice(c, one, end, axes) [earlier] b = Slice(c, zero, last, axes)
          [subtract] y = Sub(a, b) }""",
        uniform(0.5, 1.0, 64),
    ),
    "squared distance by its expansion": _near_equal(0.05),
    "reciprocal of a small difference": Hazard(
        """g (float[N, 8] x) => (float[N, 8] y) <float one = {1}> {
          [subtract] d = Sub(x, one) [invert] y = Reciprocal(d) }""",
        uniform(1.005, 1.05, 8),
    ),
    "one ruined batch": Hazard(
        """g (float[N, 8] x, float[N, 1] gain) => (float[N, 8] y) <float zero = {93.15}> {
          [subtract] d = Sub(x, zero) [scale] y = Mul(d, gain) }""",
        _one_ruined_batch,
    ),
    "few elements that cancel": Hazard(
        """g (float[N, 64] x) => (float[N, 64] y) <float zero = {93.15}, float least = {0.001}> {
          [subtract] d = Sub(x, zero) [size] s = Abs(d) [guard] g = Max(s, least) [invert] y = Reciprocal(g) }""",
        _few_close_elements,
    ),
    "determinant of a near-singular matrix": Hazard(
        """g (float[N, 8] x, float[N, 8] z) => (float[N, 8] y) <float some = {0.01}> {
          [shifted] s = Add(z, some) [ad] a = Mul(x, s) [other] o = Add(x, some) [bc] b = Mul(o, z)
          [subtract] y = Sub(a, b) }""",
        normal(5.0, 0.2, 8, names="x z"),
    ),
    "sine from a cosine near 1": Hazard(
        """g (float[N, 8] x) => (float[N, 8] y) <float one = {1}> {
          [cosine] c = Cos(x) [square] s = Mul(c, c) [subtract] d = Sub(one, s) [root] y = Sqrt(d) }""",
        uniform(0.02, 0.1, 8),
    ),
    "1 minus cosine similarity": Hazard(
        """g (float[N, 32] x, float[N, 32] z) => (float[N, 1] y) <float one = {1}> {
          [x_norm] a = ReduceL2<axes = [1]>(x) [z_norm] b = ReduceL2<axes = [1]>(z) [xz] p = Mul(x, z)
          [dot] d = ReduceL1<axes = [1]>(p) [norms] n = Mul(a, b) [cosine] c = Div(d, n)
          [subtract] y = Sub(one, c) }""",
        lambda rng: {
            "x": (base := rng.uniform(1.0, 2.0, (16, 32))).astype(np.float32),
            "z": (base + rng.uniform(-0.05, 0.05, (16, 32))).astype(np.float32),
        },
    ),
    "polynomial near its root": Hazard(
        """g (float[N, 8] x) => (float[N, 8] y) <float three = {3}, float one = {1}> {
          [first] a = Sub(x, three) [second] b = Mul(a, x) [third] c = Add(b, three) [fourth] d = Mul(c, x)
          [fifth] y = Sub(d, one) }""",
        uniform(1.1, 1.2, 8),
    ),
    "great-circle distance of neighbours": Hazard(
        """g (float[N, 8] x, float[N, 8] z) => (float[N, 8] y) <float half = {0.5}, float earth = {12742}> {
          [difference] d = Sub(x, z) [half] h = Mul(d, half) [sine] s = Sin(h) [size] a = Abs(s) [arc] c = Asin(a)
          [metres] y = Mul(c, earth) }""",
        normal(0.8401, 0.0005, 8, names="x z"),
    ),
    "difference of independent numbers": Hazard(
        "g (float[N, 8] x, float[N, 8] z) => (float[N, 8] y) { [subtract] y = Sub(x, z) }",
        normal(0.0, 1.0, 8, names="x z"),
        harmless=True,
    ),
    "variance of centred numbers as difference of means": Hazard(_VARIANCE, normal(0.1, 1.0, 64), harmless=True),
    "squared distance of distant points": _near_equal(3.0),
    "mean subtracted from centred numbers": Hazard(
        """g (float[N, 64] x) => (float[N, 64] y) {
          [mean] m = ReduceMean<axes = [1]>(x) [subtract] y = Sub(x, m) }""",
        normal(0.3, 1.0, 64),
        harmless=True,
    ),
    "cancellation that a large residual swallows": Hazard(
        """g (float[N, 8] x, float[N, 8] z, float[N, 8] r) => (float[N, 8] y) {
          [subtract] d = Sub(x, z) [residual] y = Add(d, r) }""",
        lambda rng: {
            **{name: rng.normal(48.0, 0.05, (16, 8)).astype(np.float32) for name in ("x", "z")},
            "r": rng.normal(0.0, 60.0, (16, 8)).astype(np.float32),
        },
        harmless=True,
    ),
    "pixels to their mean and deviation": Hazard(
        """g (float[N, 3, 8, 8] x) => (float[N, 3, 8, 8] y)
          <float[3, 1, 1] mean = {123.7, 116.3, 103.5}, float[3, 1, 1] deviation = {58.4, 57.1, 57.4}> {
          [subtract] d = Sub(x, mean) [scale] y = Div(d, deviation) }""",
        uniform(0.0, 255.0, 3, 8, 8),
        harmless=True,
    ),
}
