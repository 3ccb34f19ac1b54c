"""Attention: masks, rows that are masked whole, large scores, sharp and soft softmaxes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tests.hazards.hazard import Feeds, Hazard, Sampler, normal

_SIZE = 16


def _queries(scale: float, *, fully_masked: bool = False, masked: bool = True) -> Sampler:
    """Queries, keys, values and a padding mask of 1 for what counts; `fully_masked`: one row of the batch has none."""

    def sampled(rng: np.random.Generator) -> Feeds:
        found = {name: rng.normal(0.0, scale, (8, _SIZE, 32)).astype(np.float32) for name in ("q", "k")}
        found["v"] = rng.normal(0.0, 1.0, (8, _SIZE, 32)).astype(np.float32)
        if not masked:
            return found
        lengths = rng.integers(4, _SIZE + 1, (8, 1, 1))
        if fully_masked:
            lengths[2] = 0
        return found | {"mask": (np.arange(_SIZE)[None, None] < lengths).astype(np.float32)}

    return sampled


_INPUTS = "float[N, 16, 32] q, float[N, 16, 32] k, float[N, 16, 32] v"
_SCORES = "[turn] t = Transpose<perm = [0, 2, 1]>(k) [product] p = MatMul(q, t) [scale] c = Mul(p, scale)"
_WEIGHED = "[softmax] a = Softmax<axis = -1>(s) [weigh] y = MatMul(a, v)"


def _masked(lowest: str, samples: Sampler) -> Hazard:
    return Hazard(
        f"""g ({_INPUTS}, float[N, 1, 16] mask) => (float[N, 16, 32] y)
          <float scale = {{0.1767767}}, float one = {{1}}, float lowest = {{{lowest}}}> {{
          {_SCORES} [hidden] h = Sub(one, mask) [lowest] m = Mul(h, lowest) [masked] s = Add(c, m) {_WEIGHED} }}""",
        samples,
        harmless=True,
    )


def _chosen(samples: Sampler) -> Hazard:
    """Masked by minus infinity; rows that are masked whole give 0."""
    return Hazard(
        f"""g ({_INPUTS}, float[N, 1, 16] mask) => (float[N, 16, 32] y)
          <float scale = {{0.1767767}}, float zero = {{0}}, float lowest = {{-inf}}> {{
          {_SCORES} [there] b = Cast<to = 9>(mask) [masked] s = Where(b, c, lowest) [softmax] a = Softmax<axis = -1>(s)
          [none] n = IsNaN(a) [clean] o = Where(n, zero, a) [weigh] y = MatMul(o, v) }}""",
        samples,
        harmless=True,
    )


ATTENTION: Mapping[str, Hazard] = {
    "scores of hundreds": Hazard(
        f"""g ({_INPUTS}) => (float[N, 16, 32] y) <float scale = {{1}}> {{
          {_SCORES.replace("c = Mul", "s = Mul")} {_WEIGHED} }}""",
        lambda rng: {
            "q": rng.normal(6.0, 1.0, (8, 16, 32)).astype(np.float32),
            "k": (6.0 + rng.normal(0.0, 0.02, (8, 16, 32))).astype(np.float32),
            "v": rng.normal(0.0, 1.0, (8, 16, 32)).astype(np.float32),
        },
    ),
    "scores scaled only after the product": Hazard(
        f"""g ({_INPUTS}) => (float[N, 16, 32] y) <float scale = {{0.00005}}> {{
          {_SCORES.replace("c = Mul", "s = Mul")} {_WEIGHED} }}""",
        _queries(60.0, masked=False),
    ),
    "softmax of a low temperature": Hazard(
        """g (float[N, 64] x) => (float[N, 64] y) <float temperature = {0.005}> {
          [cool] c = Div(x, temperature) [softmax] y = Softmax<axis = -1>(c) }""",
        lambda rng: {"x": (0.9 + rng.normal(0.0, 0.004, (16, 64))).astype(np.float32)},
    ),
    "steep sigmoid": Hazard(
        """g (float[N, 64] x) => (float[N, 64] y) <float middle = {0.7}, float slope = {500}> {
          [subtract] d = Sub(x, middle) [slope] s = Mul(d, slope) [sigmoid] y = Sigmoid(s) }""",
        normal(0.7, 0.01, 64),
    ),
    "mask of float.min": _masked("-3.4028235e38", _queries(1.0)),
    "fully masked rows of float.min": _masked("-3.4028235e38", _queries(1.0, fully_masked=True)),
    "mask of -10000": _masked("-10000", _queries(1.0)),
    "peaked scores under a mask of -1e9": _masked("-1e9", _queries(2.0)),
    "mask of minus infinity with rows of none": _chosen(_queries(1.0, fully_masked=True)),
    "soft cap of scores": Hazard(
        """g (float[N, 64] x) => (float[N, 64] y) <float cap = {30}> {
          [divide] d = Div(x, cap) [squash] t = Tanh(d) [cap] c = Mul(t, cap) [softmax] y = Softmax<axis = -1>(c) }""",
        normal(0.0, 3.0, 64),
        harmless=True,
    ),
    "soft cap of values far beyond it": Hazard(
        """g (float[N, 64] x) => (float[N, 64] y) <float cap = {30}> {
          [divide] d = Div(x, cap) [squash] t = Tanh(d) [cap] y = Mul(t, cap) }""",
        normal(0.0, 900.0, 64),
        harmless=True,
    ),
    "softmax of scores less their largest": Hazard(
        """g (float[N, 64] x) => (float[N, 64] y) <int64[1] last = {1}> {
          [most] m = ReduceMax<axes = [1]>(x) [subtract] d = Sub(x, m) [exp] e = Exp(d) [sum] s = ReduceSum(e, last)
          [divide] y = Div(e, s) }""",
        normal(0.0, 2.0, 64),
        harmless=True,
    ),
    "small probabilities that weigh values": Hazard(
        """g (float[N, 1, 4096] x) => (float[N, 1, 8] y) {
          [softmax] a = Softmax<axis = -1>(x) [weigh] y = MatMul(a, w) }""",
        normal(0.0, 1.0, 1, 4096),
        weights=lambda rng: {"w": rng.normal(1.0, 1.0, (4096, 8))},
        harmless=True,
    ),
}
