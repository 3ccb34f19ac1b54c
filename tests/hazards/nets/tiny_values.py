"""Values below FP16's normal range, those that matter and those that do not."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tests.hazards.hazard import Hazard, matrix, normal, uniform

TINY_VALUES: Mapping[str, Hazard] = {
    "activations of a millionth": Hazard(
        """g (float[N, 16] x) => (float[N, 16] y) <float small = {1e-7}, float large = {1e7}> {
          [lower] a = Mul(x, small) [activate] r = Relu(a) [raise] y = Mul(r, large) }""",
        normal(0.0, 1.0, 16),
    ),
    "weights of a millionth before a BatchNormalization": Hazard(
        """g (float[N, 32] x) => (float[N, 16] y)
          <float[16] s = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1},
           float[16] z = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}> {
          [product] p = MatMul(x, w) [normalise] y = BatchNormalization<epsilon = 1e-20>(p, s, z, z, v) }""",
        normal(0.0, 1.0, 32),
        weights=lambda rng: {"w": rng.normal(0.0, 1e-8, (32, 16)), "v": rng.uniform(1e-15, 4e-15, 16)},
    ),
    "BatchNormalization of a tiny variance": Hazard(
        """g (float[N, 4, 8] x) => (float[N, 4, 8] y)
          <float[4] s = {1, 0.5, 2, 1}, float[4] z = {0, 0.5, 0, 1}, float[4] m = {0.001, 0, 0.002, 0},
           float[4] v = {1e-9, 4e-9, 1e-9, 2e-9}> {
          [normalise] y = BatchNormalization<epsilon = 1e-12>(x, s, z, m, v) }""",
        normal(0.0, 5e-5, 4, 8),
    ),
    "RMSNorm of tiny values": Hazard(
        """g (float[N, 64] x) => (float[N, 64] y) <float epsilon = {1e-12}> {
          [square] s = Mul(x, x) [mean] m = ReduceMean<axes = [1]>(s) [guard] g = Add(m, epsilon) [root] r = Sqrt(g)
          [divide] y = Div(x, r) }""",
        normal(0.0, 1e-4, 64),
    ),
    "cosine similarity of tiny vectors": Hazard(
        """g (float[N, 32] x, float[N, 32] z) => (float[N, 1] y) <int64[1] last = {1}> {
          [x_norm] a = ReduceL2<axes = [1]>(x) [z_norm] b = ReduceL2<axes = [1]>(z) [xz] p = Mul(x, z)
          [dot] d = ReduceSum(p, last) [norms] n = Mul(a, b) [cosine] y = Div(d, n) }""",
        lambda rng: {
            "x": (base := rng.normal(0.0, 3e-5, (16, 32))).astype(np.float32),
            "z": (base + rng.normal(0.0, 3e-5, (16, 32))).astype(np.float32),
        },
    ),
    "product of many probabilities": Hazard(
        """g (float[N, 64] x) => (float[N, 1] y) {
          [product] p = ReduceProd<axes = [1]>(x) [logarithm] y = Log(p) }""",
        uniform(0.5, 0.9, 64),
    ),
    "failure from a cumulative product of survival": Hazard(
        """g (float[N, 64] x) => (float[N, 64] y) <int64 axis = {1}, float one = {1}> {
          [logarithm] l = Log(x) [sum] s = CumSum(l, axis) [survival] e = Exp(s) [failure] y = Sub(one, e) }""",
        uniform(0.9995, 0.99999, 64),
    ),
    "decayed weights beside large ones": Hazard(
        "g (float[N, 64] x) => (float[N, 16] y) { [product] p = MatMul(x, w) [activate] y = Relu(p) }",
        normal(0.0, 1.0, 64),
        weights=lambda rng: {
            "w": rng.normal(0.0, 0.2, (64, 16)) * np.where(rng.uniform(size=(64, 16)) < 0.4, 1e-7, 1.0)
        },
        harmless=True,
    ),
    "branch scaled to nothing before a residual": Hazard(
        """g (float[N, 32] x) => (float[N, 32] y) <float scale = {1e-6}> {
          [product] p = MatMul(x, w) [scale] s = Mul(p, scale) [residual] y = Add(x, s) }""",
        normal(0.0, 1.0, 32),
        weights=matrix(0.2, 32, 32),
        harmless=True,
    ),
    "tiny bias beside large products": Hazard(
        """g (float[N, 32] x) => (float[N, 4] y) <float[4] b = {1e-7, -2e-8, 3e-7, 1e-8}> {
          [product] p = MatMul(x, w) [bias] y = Add(p, b) }""",
        normal(0.0, 1.0, 32),
        weights=matrix(0.2, 32, 4),
        harmless=True,
    ),
    "tiny activations that are added to large ones": Hazard(
        """g (float[N, 32] x) => (float[N, 16] y) <float small = {1e-7}> {
          [lower] a = Mul(x, small) [activate] r = Relu(a) [join] c = Concat<axis = 1>(x, r)
          [product] y = MatMul(c, w) }""",
        normal(0.0, 1.0, 32),
        weights=matrix(0.2, 64, 16),
        harmless=True,
    ),
    "gradients of a rarely active unit": Hazard(
        """g (float[N, 64] x) => (float[N, 16] y) <float shift = {-16}> {
          [shift] s = Add(x, shift) [gate] e = Exp(s) [add] a = Add(x, e) [product] y = MatMul(a, w) }""",
        normal(0.0, 1.0, 64),
        weights=matrix(0.2, 64, 16),
        harmless=True,
    ),
}
