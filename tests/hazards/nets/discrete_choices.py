"""Choices between near-equal values, and between clearly different ones."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tests.hazards.hazard import Feeds, Hazard, Sampler, normal, uniform


def _separate(*shape: int) -> Sampler:
    """Permutations of clearly different values."""

    def sampled(rng: np.random.Generator) -> Feeds:
        row = np.linspace(-4.0, 4.0, shape[-1])
        return {"x": np.stack([rng.permutation(row) for _ in range(16)]).reshape(16, *shape).astype(np.float32)}

    return sampled


def _boxes(spread: float) -> Sampler:
    """One score for each of 64 boxes that overlap their neighbours; scores differ by `spread` or more."""

    def sampled(rng: np.random.Generator) -> Feeds:
        corner = np.stack([np.arange(64) * 3.0, np.zeros(64)], axis=1)
        boxes = np.concatenate([corner, corner + 10.0], axis=1)[None]
        scores = 0.5 + spread * rng.permutation(64)
        return {"boxes": boxes.astype(np.float32), "scores": scores.reshape(1, 1, 64).astype(np.float32)}

    return sampled


_BEST_OF_SUM = """g (float[N, 512] x) => (int64[N] y) <float zero = {100}> {
  [add] s = Add(x, zero) [best] y = ArgMax<axis = 1, keepdims = 0>(s) }"""
_BOXES = """g (float[1, 64, 4] boxes, float[1, 1, 64] scores) => (int64[K, 3] y)
  <int64[1] most = {20}, float[1] overlap = {0.5}, float[1] least = {0}, float gain = {1.1}> {
  [gain] s = Mul(scores, gain) [suppress] y = NonMaxSuppression(boxes, s, most, overlap, least) }"""

DISCRETE_CHOICES: Mapping[str, Hazard] = {
    "best of near ties": Hazard(_BEST_OF_SUM, normal(0.0, 0.01, 512)),
    "best five of near ties": Hazard(
        """g (float[N, 256] x) => (int64[N, 5] y) <int64[1] five = {5}, float gain = {3}> {
          [gain] s = Mul(x, gain) [best] v, y = TopK<axis = 1>(s, five) }""",
        lambda rng: {"x": (1.0 + 1e-4 * np.stack([rng.permutation(256) for _ in range(16)])).astype(np.float32)},
    ),
    "suppression of near-equal scores": Hazard(_BOXES, _boxes(1e-5)),
    "threshold in the midst of the values": Hazard(
        """g (float[N, 64] x) => (float[N, 64] y) <float threshold = {20.17}, float high = {1}, float low = {0}> {
          [above] b = Greater(x, threshold) [choose] y = Where(b, high, low) }""",
        normal(20.17, 0.02, 64),
    ),
    "best of clearly different values": Hazard(
        """g (float[N, 32] x) => (int64[N] y) <float gain = {3}> {
          [gain] s = Mul(x, gain) [best] y = ArgMax<axis = 1, keepdims = 0>(s) }""",
        _separate(32),
        harmless=True,
    ),
    "best five of clearly different values": Hazard(
        """g (float[N, 64] x) => (int64[N, 5] y) <int64[1] five = {5}, float gain = {3}> {
          [gain] s = Mul(x, gain) [best] v, y = TopK<axis = 1>(s, five) }""",
        _separate(64),
        harmless=True,
    ),
    "suppression of clearly different scores": Hazard(_BOXES, _boxes(0.01), harmless=True),
    "threshold far from the values": Hazard(
        """g (float[N, 64] x) => (float[N, 64] y) <float threshold = {10}, float low = {0}> {
          [above] b = Greater(x, threshold) [choose] y = Where(b, low, x) }""",
        normal(0.0, 1.0, 64),
        harmless=True,
    ),
    "quantised to whole steps": Hazard(
        """g (float[N, 64] x) => (float[N, 64] y) <float step = {0.001}> {
          [divide] d = Div(x, step) [round] r = Round(d) [scale] y = Mul(r, step) }""",
        normal(0.0, 0.004, 64),
        harmless=True,
    ),
    "values clipped to a quantile": Hazard(
        """g (float[N, 64] x) => (float[N, 64] y)
          <int64[1] few = {4}, int64[1] last = {3}, int64[1] end = {4}, int64[1] axes = {1}> {
          [best] v, i = TopK<axis = 1>(x, few) [quantile] q = Slice(v, last, end, axes) [clip] y = Min(x, q) }""",
        normal(0.0, 1.0, 64),
        harmless=True,
    ),
    "relu of values around 0": Hazard(
        "g (float[N, 64] x) => (float[N, 64] y) { [activate] y = Relu(x) }", uniform(-1.0, 1.0, 64), harmless=True
    ),
}
