"""Tiny constants that protect a division, a logarithm or a root, and constants that protect nothing."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tests.hazards.hazard import Feeds, Hazard, normal


def _with_zero_row(rng: np.random.Generator) -> Feeds:
    x = rng.uniform(0.5, 1.0, (16, 8))
    x[3] = 0.0
    return {"x": x.astype(np.float32)}


def _with_rare_zero_row(rng: np.random.Generator) -> Feeds:
    """One row of zeros among so many that no share of vanishing elements tells of it."""
    x = rng.uniform(0.5, 1.0, (256, 8))
    x[77] = 0.0
    return {"x": x.astype(np.float32)}


def _with_constant_row(rng: np.random.Generator) -> Feeds:
    x = rng.normal(0.0, 1.0, (16, 32))
    x[5] = 0.75
    return {"x": x.astype(np.float32)}


GUARDS: Mapping[str, Hazard] = {
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
    "guard of a power": Hazard(
        """g (float[N, 8] x) => (float[N, 8] y) <float guard = {1e-10}, float power = {-0.5}> {
          [squares] s = ReduceSumSquare<axes = [1], keepdims = 1>(x) [guard] g = Add(s, guard)
          [power] p = Pow(g, power) [scale] y = Mul(x, p) }""",
        _with_rare_zero_row,
    ),
    "guard of a variance": Hazard(
        """g (float[N, 32] x) => (float[N, 32] y) <float guard = {1e-12}, float two = {2}> {
          [mean] m = ReduceMean<axes = [1]>(x) [subtract] d = Sub(x, m) [square] s = Pow(d, two)
          [variance] v = ReduceMean<axes = [1]>(s) [guard] g = Add(v, guard) [root] r = Sqrt(g)
          [divide] y = Div(d, r) }""",
        _with_constant_row,
    ),
    "guard as a chosen value": Hazard(
        """g (float[N, 8] x) => (float[N, 8] y) <float guard = {1e-9}, float zero = {0}> {
          [norm] n = ReduceL1<axes = [1], keepdims = 1>(x) [empty] b = Equal(n, zero) [choose] g = Where(b, guard, n)
          [divide] y = Div(x, g) }""",
        _with_zero_row,
    ),
    "clamp that protects nothing": Hazard(
        """g (float[N, 8] x) => (float[N, 8] y) <float least = {1e-12}, float[8] w = {1, 2, 3, 4, 5, 6, 7, 8}> {
          [clamp] c = Clip(x, least) [scale] y = Mul(c, w) }""",
        normal(0.0, 1.0, 8),
        harmless=True,
    ),
    "constant that FP16 holds as guard": Hazard(
        """g (float[N, 8] x) => (float[N, 8] y) <float guard = {1e-3}> {
          [norm] n = ReduceL2<axes = [1], keepdims = 1>(x) [guard] g = Add(n, guard) [divide] y = Div(x, g) }""",
        _with_zero_row,
        harmless=True,
    ),
    "tiny constant added to a bounded sum": Hazard(
        """g (float[N, 8] x) => (float[N, 8] y) <float tiny = {1e-12}, float[8] w = {1, 2, 3, 4, 5, 6, 7, 8}> {
          [shift] s = Add(x, tiny) [scale] y = Mul(s, w) }""",
        normal(0.0, 1.0, 8),
        harmless=True,
    ),
}
