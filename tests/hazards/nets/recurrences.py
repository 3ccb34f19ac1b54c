"""States that small steps build up, in bodies of control flow and in recurrent operators."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tests.hazards.hazard import Hazard, normal, uniform


def _loop(body: str, steps: int, inputs: str = "float[N, 8] x") -> str:
    return f"""g ({inputs}) => (float[N, 8] y) <int64 steps = {{{steps}}}, bool yes = {{1}}> {{
      [repeat] y = Loop(steps, yes, x)
        <body = b (int64 i, bool go, float[N, 8] s) => (bool more, float[N, 8] t) {{
          more = Identity(go) {body} }}> }}"""


_RECURRENT = {
    "LSTM": lambda rng: {
        "w": rng.normal(0.0, 0.3, (1, 64, 8)),
        "r": rng.normal(0.0, 0.2, (1, 64, 16)),
        "b": rng.normal(0.0, 0.1, (1, 128)),
    },
    "GRU": lambda rng: {
        "w": rng.normal(0.0, 0.3, (1, 48, 8)),
        "r": rng.normal(0.0, 0.2, (1, 48, 16)),
        "b": rng.normal(0.0, 0.1, (1, 96)),
    },
}

RECURRENCES: Mapping[str, Hazard] = {
    "small steps on a large state": Hazard(
        _loop("[step] c = Constant<value_float = 0.0001>() [add] t = Add(s, c)", 400), uniform(0.5, 1.0, 8)
    ),
    "small steps less where they began": Hazard(
        """g (float[N, 8] x) => (float[N, 8] y) <int64 steps = {100}, bool yes = {1}> {
          [repeat] e = Loop(steps, yes, x)
            <body = b (int64 i, bool go, float[N, 8] s) => (bool more, float[N, 8] t) {
              more = Identity(go) [step] c = Constant<value_float = 0.001>() [add] t = Add(s, c) }>
          [way] y = Sub(e, x) }""",
        uniform(4.0, 6.0, 8),
    ),
    "map that amplifies": Hazard(
        _loop(
            """[rate] r = Constant<value_float = 3.9>() [one] o = Constant<value_float = 1.0>() [rest] d = Sub(o, s)
            [product] p = Mul(s, d) [rate_product] t = Mul(p, r)""",
            16,
        ),
        uniform(0.1, 0.9, 8),
    ),
    "running sum in a Scan": Hazard(
        """g (float[8] x, float[2000, 8] steps) => (float[8] last, float[2000, 8] y) {
          [scan] last, y = Scan<num_scan_inputs = 1,
            body = b (float[8] s, float[8] d) => (float[8] t, float[8] out) { [add] t = Add(s, d) out = Identity(t) }>
            (x, steps) }""",
        lambda rng: {
            "x": rng.uniform(20.0, 30.0, 8).astype(np.float32),
            "steps": rng.uniform(0.0005, 0.0015, (2000, 8)).astype(np.float32),
        },
    ),
    "cancellation in a branch": Hazard(
        """g (float[N, 8] x, bool c) => (float[N, 8] y) {
          [branch] y = If(c) <
            then_branch = a () => (float[N, 8] t) {
              [zero] z = Constant<value_float = 293.15>() [subtract] t = Sub(x, z) },
            else_branch = b () => (float[N, 8] e) { [same] e = Identity(x) }> }""",
        lambda rng: {"x": rng.normal(293.15, 0.5, (16, 8)).astype(np.float32), "c": np.array(True)},
    ),
    "state that forgets": Hazard(
        _loop("[half] h = Constant<value_float = 0.5>() [forget] f = Mul(s, h) [add] t = Add(f, x)", 40),
        normal(0.0, 1.0, 8),
        harmless=True,
    ),
    "root by Newton's steps": Hazard(
        """g (float[N, 8] x) => (float[N, 8] y) <int64 steps = {6}, bool yes = {1}> {
          [repeat] y = Loop(steps, yes, x)
            <body = b (int64 i, bool go, float[N, 8] s) => (bool more, float[N, 8] t) {
              more = Identity(go) [half] h = Constant<value_float = 0.5>() [divide] d = Div(x, s) [add] a = Add(s, d)
              [halve] t = Mul(a, h) }> }""",
        uniform(1.0, 9.0, 8),
        harmless=True,
    ),
    "LSTM over 40 steps": Hazard(
        """g (float[40, 4, 8] x) => (float[40, 1, 4, 16] y) { [lstm] y = LSTM<hidden_size = 16>(x, w, r, b) }""",
        lambda rng: {"x": rng.normal(0.0, 1.0, (40, 4, 8)).astype(np.float32)},
        weights=_RECURRENT["LSTM"],
        harmless=True,
    ),
    "GRU over 40 steps": Hazard(
        """g (float[40, 4, 8] x) => (float[40, 1, 4, 16] y) { [gru] y = GRU<hidden_size = 16>(x, w, r, b) }""",
        lambda rng: {"x": rng.normal(0.0, 1.0, (40, 4, 8)).astype(np.float32)},
        weights=_RECURRENT["GRU"],
        harmless=True,
    ),
    "branch of ordinary values": Hazard(
        """g (float[N, 8] x, bool c) => (float[N, 8] y) {
          [branch] y = If(c) <
            then_branch = a () => (float[N, 8] t) {
              [gain] z = Constant<value_float = 3.1>() [scale] t = Mul(x, z) },
            else_branch = b () => (float[N, 8] e) { [same] e = Identity(x) }> }""",
        lambda rng: {"x": rng.normal(0.0, 1.0, (16, 8)).astype(np.float32), "c": np.array(True)},
        harmless=True,
    ),
}
