"""Logarithms and complements of probabilities."""

from __future__ import annotations

from collections.abc import Mapping

from tests.hazards.hazard import Hazard, matrix, normal, uniform

PROBABILITIES: Mapping[str, Hazard] = {
    "log of 1 plus little": Hazard(
        """g (float[N, 8] x) => (float[N, 8] y) <float one = {1}> {
          [exp] e = Exp(x) [add] a = Add(e, one) [log] y = Log(a) }""",
        uniform(-9.0, -5.0, 8),
    ),
    "1 minus sigmoid": Hazard(
        """g (float[N, 8] x) => (float[N, 8] y) <float one = {1}> {
          [sigmoid] s = Sigmoid(x) [subtract] y = Sub(one, s) }""",
        uniform(4.0, 7.0, 8),
    ),
    "log of a sigmoid near 1": Hazard(
        """g (float[N, 8] x) => (float[N, 8] y) <float guard = {1e-8}> {
          [sigmoid] s = Sigmoid(x) [add] a = Add(s, guard) [log] y = Log(a) }""",
        uniform(4.0, 7.0, 8),
    ),
    "logit of probabilities near 1": Hazard(
        """g (float[N, 8] x) => (float[N, 8] y) <float one = {1}> {
          [rest] r = Sub(one, x) [odds] o = Div(x, r) [logit] y = Log(o) }""",
        uniform(0.999, 0.99999, 8),
    ),
    "Gumbel noise from uniform numbers": Hazard(
        """g (float[N, 64] x) => (float[N, 64] y) {
          [inner] a = Log(x) [minus] n = Neg(a) [outer] b = Log(n) [noise] y = Neg(b) }""",
        uniform(0.99, 0.99999, 64),
    ),
    "log of softmax": Hazard(
        """g (float[N, 64] x) => (float[N, 64] y) {
          [softmax] s = Softmax<axis = -1>(x) [logarithm] y = Log(s) }""",
        normal(0.0, 8.0, 64),
    ),
    "focal weight of sure predictions": Hazard(
        """g (float[N, 8] x) => (float[N, 8] y) <float one = {1}, float gamma = {2}> {
          [sigmoid] s = Sigmoid(x) [rest] r = Sub(one, s) [focus] y = Pow(r, gamma) }""",
        uniform(3.0, 6.0, 8),
    ),
    "divergence of near-equal distributions": Hazard(
        """g (float[N, 32] x, float[N, 32] z) => (float[N, 1] y) <int64[1] last = {1}> {
          [p] p = Softmax<axis = -1>(x) [q] q = Softmax<axis = -1>(z) [ratio] r = Div(p, q) [logarithm] l = Log(r)
          [weigh] w = Mul(p, l) [sum] y = ReduceSum(w, last) }""",
        lambda rng: {
            "x": (base := rng.normal(0.0, 1.0, (16, 32))).astype("float32"),
            "z": (base + rng.normal(0.0, 0.02, (16, 32))).astype("float32"),
        },
    ),
    "softplus by its operator": Hazard(
        "g (float[N, 8] x) => (float[N, 8] y) { [softplus] y = Softplus(x) }",
        uniform(-5.0, 5.0, 8),
        harmless=True,
    ),
    "log of softmax by its operator": Hazard(
        "g (float[N, 64] x) => (float[N, 64] y) { [softmax] y = LogSoftmax<axis = -1>(x) }",
        normal(0.0, 4.0, 64),
        harmless=True,
    ),
    "1 minus sigmoid around 0": Hazard(
        """g (float[N, 32] x) => (float[N, 32] y) <float one = {1}> {
          [sigmoid] s = Sigmoid(x) [subtract] y = Sub(one, s) }""",
        normal(0.0, 1.0, 32),
        harmless=True,
    ),
    "gate of a recurrent cell": Hazard(
        """g (float[N, 32] x, float[N, 32] h) => (float[N, 32] y) <float one = {1}> {
          [product] p = MatMul(x, w) [sigmoid] z = Sigmoid(p) [rest] r = Sub(one, z) [old] o = Mul(z, h)
          [new] c = Tanh(p) [gate] n = Mul(r, c) [state] y = Add(o, n) }""",
        normal(0.0, 2.0, 32, names="x h"),
        weights=matrix(0.3, 32, 32),
        harmless=True,
    ),
    "entropy of soft probabilities": Hazard(
        """g (float[N, 32] x) => (float[N, 1] y) <int64[1] last = {1}> {
          [softmax] p = Softmax<axis = -1>(x) [logarithm] l = Log(p) [weigh] w = Mul(p, l) [sum] s = ReduceSum(w, last)
          [minus] y = Neg(s) }""",
        normal(0.0, 1.0, 32),
        harmless=True,
    ),
}
