"""Phases, positions, times, identifiers and lengths, which are exact in FP32 and not in 16 bits."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tests.hazards.hazard import Feeds, Hazard, normal, uniform


def _grid(rng: np.random.Generator) -> Feeds:
    image = rng.normal(0.0, 1.0, (4, 1, 512, 512))
    return {"image": image.astype(np.float32), "grid": rng.uniform(-1, 1, (4, 8, 8, 2)).astype(np.float32)}


def _smooth_grid(rng: np.random.Generator) -> Feeds:
    """An image that hardly changes from pixel to pixel, and 16 of them."""
    row = np.linspace(0.0, 3.0, 16)
    image = np.sin(row[:, None] + 0.5 * row[None, :]) + rng.normal(0.0, 1.0, (16, 1, 1, 1))
    return {"image": image.astype(np.float32), "grid": rng.uniform(-1, 1, (16, 8, 8, 2)).astype(np.float32)}


def _boxes(rng: np.random.Generator) -> Feeds:
    corner = rng.uniform(0.0, 180.0, (12, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(2.0, 9.0, (12, 2))], axis=1)
    return {"boxes": boxes.astype(np.float32), "batch": np.zeros(12, np.int64)}


def _whole(low: int, high: int, *shape: int) -> Hazard:
    """An embedding's rows by numbers that travel as floats, through a node where they are large."""
    ids, flat = ("x", "") if high <= 2048 else ("f", "[flat] f = Flatten(x)")
    return Hazard(
        f"""g (float[N, {shape[0]}] x) => (float[N, {shape[0]}, 4] y) {{
          {flat} [whole] i = Cast<to = 7>({ids}) [rows] y = Gather(w, i) }}""",
        lambda rng: {"x": rng.integers(low, high, (16, *shape)).astype(np.float32)},
        weights=lambda rng: {"w": rng.normal(0.0, 1.0, (high, 4))},
        harmless=high <= 2048,
    )


def _rotated(length: int) -> Hazard:
    """Rotary angles of `length` positions."""
    return Hazard(
        f"""g (int64[N, {length}] ids) => (float[N, {length}, 8] y)
          <float[1, 1, 8] frequency = {{1, 0.32, 0.1, 0.032, 0.01, 0.0032, 0.001, 0.00032}}, int64[1] last = {{2}}> {{
          [float] p = Cast<to = 1>(ids) [column] q = Unsqueeze(p, last) [angle] a = Mul(q, frequency)
          [cosine] y = Cos(a) }}""",
        lambda rng: {"ids": np.arange(length, dtype=np.int64)[None] + rng.integers(0, 2, (4, 1))},
    )


EXACT_NUMBERS: Mapping[str, Hazard] = {
    "positions modulo 16": Hazard(
        """g (float[N, 8] x) => (float[N, 8] y) <float cycle = {16}> { [modulo] y = Mod<fmod = 1>(x, cycle) }""",
        uniform(0.0, 500.0, 8),
    ),
    "hash of identifiers": Hazard(
        """g (float[N, 8] x) => (float[N, 8] y) <float factor = {31}, float buckets = {1021}> {
          [factor] p = Mul(x, factor) [modulo] y = Mod<fmod = 1>(p, buckets) }""",
        lambda rng: {"x": rng.integers(0, 2000, (16, 8)).astype(np.float32)},
    ),
    "phase of a cumulative sum": Hazard(
        """g (float[N, 256] x) => (float[N, 256] y) <int64 axis = {1}, float turn = {6.2831853}> {
          [sum] c = CumSum(x, axis) [phase] p = Mul(c, turn) [sine] y = Sin(p) }""",
        uniform(0.1, 0.4, 256),
    ),
    "phase less its whole turns": Hazard(
        """g (float[N, 256] x) => (float[N, 256] y) <int64 axis = {1}, float turn = {6.2831853}> {
          [sum] c = CumSum(x, axis) [turns] f = Floor(c) [rest] r = Sub(c, f) [phase] p = Mul(r, turn)
          [sine] y = Sin(p) }""",
        uniform(0.1, 0.4, 256),
    ),
    "rotary angles of 4096 positions": _rotated(4096),
    "rotary angles written by ScatterND": Hazard(
        """g (int64[N] ids, int64[N, 1] place) => (float[1024, 4] y)
          <float[1, 4] frequency = {1, 0.1, 0.01, 0.001}, float[1] nothing = {0}, int64[1] length = {1024},
           int64[1] last = {1}> {
          [float] p = Cast<to = 1>(ids) [empty] e = Expand(nothing, length) [write] s = ScatterND(e, place, p)
          [column] q = Unsqueeze(s, last) [angle] a = Mul(q, frequency) [sine] y = Sin(a) }""",
        lambda rng: {
            "ids": rng.permutation(1024).astype(np.int64),
            "place": np.arange(1024, dtype=np.int64)[:, None],
        },
    ),
    "seconds since a start in 2026": Hazard(
        """g (float[N, 8] x) => (float[N, 8] y) <float start = {60000}, float unit = {60}> {
          [elapsed] e = Sub(x, start) [minutes] y = Div(e, unit) }""",
        uniform(60001.0, 60300.0, 8),
    ),
    "time of day from seconds": Hazard(
        """g (float[N, 8] x) => (float[N, 8] y) <float turn = {7.2722e-5}> {
          [angle] a = Mul(x, turn) [cosine] y = Cos(a) }""",
        uniform(0.0, 6e5, 8),
    ),
    "identifiers that index 30000 rows": _whole(0, 30000, 8),
    "bucket of a position": Hazard(
        """g (float[N, 16] x) => (float[N, 16, 4] y) <float width = {0.25}> {
          [width] d = Div(x, width) [lower] f = Floor(d) [whole] i = Cast<to = 7>(f) [rows] y = Gather(w, i) }""",
        uniform(0.0, 900.0, 16),
        weights=lambda rng: {"w": rng.normal(0.0, 1.0, (3700, 4))},
    ),
    "length of a sequence from its mask": Hazard(
        """g (float[N, 6000] x) => (float[N] y) <float scale = {0.001}> {
          [length] n = ReduceSum<keepdims = 0>(x, one) [last] l = Sub(n, most) [scale] y = Mul(l, scale) }""".replace(
            "<float scale", "<int64[1] one = {1}, float most = {5000}, float scale"
        ),
        lambda rng: {"x": (np.arange(6000)[None] < rng.integers(5001, 5020, (16, 1))).astype(np.float32)},
    ),
    "durations that become lengths": Hazard(
        """g (float[N, 8] x) => (int64[N, 8] y) <float scale = {100}> {
          [scale] s = Mul(x, scale) [round_up] c = Ceil(s) [whole] y = Cast<to = 7>(c) }""",
        uniform(3.0, 5.0, 8),
    ),
    "durations that become frames": Hazard(
        """g (float[N, 64] x) => (int64[N, 64] y) <float scale = {86.13}, int64 axis = {1}> {
          [scale] s = Mul(x, scale) [round] r = Round(s) [ends] c = CumSum(r, axis) [whole] y = Cast<to = 7>(c) }""",
        uniform(0.3, 0.9, 64),
    ),
    "grid sample of 512 pixels": Hazard(
        """g (float[N, 1, 512, 512] image, float[N, 8, 8, 2] grid) => (float[N, 1, 8, 8] y) {
          [sample] y = GridSample<mode = "linear", align_corners = 1>(image, grid) }""",
        _grid,
        opset=20,
    ),
    "boxes of RoiAlign": Hazard(
        """g (float[N, 4] boxes, int64[N] batch) => (float[N, 2, 2, 2] y) {
          [align] y = RoiAlign<output_height = 2, output_width = 2, sampling_ratio = 2>(image, boxes, batch) }""",
        _boxes,
        weights=lambda rng: {"image": rng.normal(0.0, 1.0, (1, 2, 200, 200))},
    ),
    "grid sample of a smooth image of 16 pixels": Hazard(
        """g (float[N, 1, 16, 16] image, float[N, 8, 8, 2] grid) => (float[N, 1, 8, 8] y) {
          [sample] y = GridSample<mode = "linear", align_corners = 1>(image, grid) }""",
        _smooth_grid,
        opset=20,
        harmless=True,
    ),
    "identifiers below 200": _whole(0, 200, 8),
    "sine of small angles": Hazard(
        """g (float[N, 8] x) => (float[N, 8] y) <float scale = {0.5}> {
          [scale] a = Mul(x, scale) [sine] y = Sin(a) }""",
        normal(0.0, 1.5, 8),
        harmless=True,
    ),
    "share of a mask of 64": Hazard(
        """g (float[N, 64] x) => (float[N, 1] y) <int64[1] one = {1}, float all = {64}> {
          [length] n = ReduceSum(x, one) [share] y = Div(n, all) }""",
        lambda rng: {"x": (np.arange(64)[None] < rng.integers(5, 64, (16, 1))).astype(np.float32)},
        harmless=True,
    ),
    "coordinates of anchors on a screen": Hazard(
        """g (float[N, 64, 2] x) => (float[N, 64, 2] y) <float stride = {32}> {
          [shift] s = Add(x, w) [stride] y = Mul(s, stride) }""",
        normal(0.5, 0.3, 64, 2),
        weights=lambda rng: {"w": np.stack(np.meshgrid(np.arange(8), np.arange(8)), -1).reshape(1, 64, 2) * 4.0},
        harmless=True,
    ),
}
