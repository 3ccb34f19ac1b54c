"""Spectra, levels in decibels and filters."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tests.hazards.hazard import Feeds, Hazard, matrix, normal


def _fourier(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Cosine and sine matrices of 64 points, and 8 triangular filters."""
    phase = 2 * np.pi * np.outer(np.arange(64), np.arange(33)) / 64
    filters = np.maximum(0.0, 1.0 - np.abs(np.arange(33)[:, None] - np.linspace(2, 30, 8)[None]) / 4)
    return {"cosines": np.cos(phase), "sines": np.sin(phase), "filters": filters}


def _sound(loudness: float, noise: float = 0.001) -> Feeds:
    time = np.arange(64) / 64
    rng = np.random.default_rng(3)
    tones = rng.integers(2, 28, (16, 3, 1))
    wave = np.sin(2 * np.pi * tones * time + rng.uniform(0, 6, (16, 3, 1))).sum(1)
    return {"x": (loudness * (wave + noise * rng.normal(size=(16, 64)))).astype(np.float32)}


_LOG_MEL = """g (float[N, 64] x) => (float[N, 8] y) <float least = {1e-10}> {
  [real] a = MatMul(x, cosines) [imaginary] b = MatMul(x, sines) [real_square] c = Mul(a, a)
  [imaginary_square] d = Mul(b, b) [power] p = Add(c, d) [mel] m = MatMul(p, filters) [guard] g = Max(m, least)
  [logarithm] y = Log(g) }"""

SIGNALS: Mapping[str, Hazard] = {
    "log-mel spectrum of quiet sound": Hazard(_LOG_MEL, lambda rng: _sound(1e-4), weights=_fourier),
    "log-mel spectrum with silent bands": Hazard(_LOG_MEL, lambda rng: _sound(0.5), weights=_fourier),
    "log-mel spectrum of 16-bit samples": Hazard(_LOG_MEL, lambda rng: _sound(9000.0), weights=_fourier),
    "power spectrum by the operator STFT": Hazard(
        """g (float[N, 256, 1] x) => (float[N, F, 33, 1] y)
          <int64 step = {32}, int64 length = {64}, int64[1] last = {3}> {
          [transform] s = STFT<onesided = 1>(x, step, , length) [square] p = Mul(s, s)
          [power] y = ReduceSum(p, last) }""",
        normal(0.0, 3e-5, 256, 1),
    ),
    "level in decibels of small amplitudes": Hazard(
        """g (float[N, 64] x) => (float[N, 64] y) <float least = {1e-9}, float factor = {8.685889}> {
          [size] s = Abs(x) [guard] g = Add(s, least) [logarithm] l = Log(g) [decibels] y = Mul(l, factor) }""",
        lambda rng: {"x": (10.0 ** rng.uniform(-8.0, -1.0, (16, 64))).astype(np.float32)},
    ),
    "difference of a slow signal": Hazard(
        """g (float[N, 1, 256] x) => (float[N, 1, 255] y) <float[1, 1, 2] k = {-1, 1}> { [filter] y = Conv(x, k) }""",
        lambda rng: {"x": (8.0 + np.cumsum(rng.normal(0.0, 0.001, (16, 1, 256)), axis=2)).astype(np.float32)},
    ),
    "Einsum over 4096 large terms": Hazard(
        """g (float[N, 4096] x, float[N, 4096] z) => (float[N] y) <float unit = {1e-5}> {
          [sum] s = Einsum<equation = "bi,bi->b">(x, z) [scale] y = Mul(s, unit) }""",
        normal(8.0, 1.0, 4096, names="x z"),
    ),
    "log-mel spectrum of noise": Hazard(_LOG_MEL, lambda rng: _sound(0.5, noise=2.0), weights=_fourier, harmless=True),
    "smoothing filter": Hazard(
        """g (float[N, 1, 256] x) => (float[N, 1, 253] y) <float[1, 1, 4] k = {0.1, 0.4, 0.4, 0.1}> {
          [filter] y = Conv(x, k) }""",
        normal(0.0, 1.0, 1, 256),
        harmless=True,
    ),
    "Einsum of ordinary terms": Hazard(
        """g (float[N, 64] x) => (float[N, 16] y) { [sum] y = Einsum<equation = "bi,ij->bj">(x, w) }""",
        normal(0.0, 1.0, 64),
        weights=matrix(0.2, 64, 16),
        harmless=True,
    ),
}
