"""Normalisations that amplify what rounding took, and ordinary ones."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tests.hazards.hazard import Feeds, Hazard, normal


def _ones(size: int) -> str:
    return ", ".join(["1"] * size)


def _zeros(size: int) -> str:
    return ", ".join(["0"] * size)


_LAYER = f"""g (float[N, 16] x) => (float[N, 16] y) <float[16] s = {{{_ones(16)}}}, float[16] b = {{{_zeros(16)}}}> {{
  [normalise] y = LayerNormalization<axis = -1, epsilon = 1e-5>(x, s, b) }}"""
_INSTANCE = f"""g (float[N, 4, 64] x) => (float[N, 4, 64] y)
  <float[4] s = {{{_ones(4)}}}, float[4] b = {{{_zeros(4)}}}> {{
  [normalise] y = InstanceNormalization<epsilon = 1e-10>(x, s, b) }}"""


def _batch(mean: float) -> str:
    means = ", ".join([str(mean)] * 4)
    return f"""g (float[N, 4, 8] x) => (float[N, 4, 8] y)
      <float[4] s = {{{_ones(4)}}}, float[4] b = {{{_zeros(4)}}}, float[4] m = {{{means}}},
       float[4] v = {{{_ones(4)}}}> {{
      [normalise] y = BatchNormalization<epsilon = 1e-5>(x, s, b, m, v) }}"""


def _outlier(rng: np.random.Generator) -> Feeds:
    x = rng.normal(0.0, 1.0, (16, 16))
    x[:, 3] += 100.0
    return {"x": x.astype(np.float32)}


NORMALISATIONS: Mapping[str, Hazard] = {
    "LayerNormalization far from 0": Hazard(_LAYER, normal(400.0, 0.5, 16)),
    "InstanceNormalization of nearly constant channels": Hazard(_INSTANCE, normal(1.0, 2e-4, 4, 64)),
    "BatchNormalization far from 0": Hazard(_batch(450.0), normal(450.0, 1.0, 4, 8)),
    "mean taken off a large offset": Hazard(
        """g (float[N, 64] x) => (float[N, 64] y) {
          [mean] m = ReduceMean<axes = [1]>(x) [subtract] y = Sub(x, m) }""",
        normal(300.0, 0.5, 64),
    ),
    "group norm by steps, far from 0": Hazard(
        """g (float[N, 4, 16] x) => (float[N, 4, 16] y) <float two = {2}, float epsilon = {1e-5}> {
          [mean] m = ReduceMean<axes = [2]>(x) [subtract] d = Sub(x, m) [square] s = Pow(d, two)
          [variance] v = ReduceMean<axes = [2]>(s) [guard] g = Add(v, epsilon) [root] r = Sqrt(g)
          [divide] y = Div(d, r) }""",
        normal(200.0, 0.5, 4, 16),
    ),
    "standard deviation of close values": Hazard(
        """g (float[N, 64] x) => (float[N, 1] y) <float two = {2}> {
          [mean] m = ReduceMean<axes = [1]>(x) [subtract] d = Sub(x, m) [square] s = Pow(d, two)
          [variance] v = ReduceMean<axes = [1]>(s) [root] y = Sqrt(v) }""",
        normal(5.0, 0.003, 64),
    ),
    "LayerNormalization of ordinary values": Hazard(_LAYER, normal(0.2, 1.0, 16), harmless=True),
    "LayerNormalization with an outlier channel": Hazard(_LAYER, _outlier, harmless=True),
    "InstanceNormalization of ordinary channels": Hazard(_INSTANCE, normal(0.5, 1.0, 4, 64), harmless=True),
    "BatchNormalization of ordinary values": Hazard(_batch(0.5), normal(0.5, 1.0, 4, 8), harmless=True),
    "group norm by steps, of ordinary values": Hazard(
        """g (float[N, 4, 16] x) => (float[N, 4, 16] y) <float two = {2}, float epsilon = {1e-5}> {
          [mean] m = ReduceMean<axes = [2]>(x) [subtract] d = Sub(x, m) [square] s = Pow(d, two)
          [variance] v = ReduceMean<axes = [2]>(s) [guard] g = Add(v, epsilon) [root] r = Sqrt(g)
          [divide] y = Div(d, r) }""",
        normal(0.2, 1.0, 4, 16),
        harmless=True,
    ),
}
