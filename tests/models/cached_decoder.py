"""A small decoder with a cache of keys and values, in the form that exporters give Llama: RMSNorm, rotary embedding,
gated feed-forward, inputs ``input_ids``, ``attention_mask``, ``position_ids`` and ``past_N_key``, ``past_N_value``.

Written as ONNX text, with seeded weights; a vocabulary of 64, two layers of width 32 with two heads of 16.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

VOCABULARY, WIDTH, HEADS, HEAD, HIDDEN, LAYERS = 64, 32, 2, 16, 64, 2


def build_cached_decoder(path: Path, *, seed: int = 0, cache: bool = True, scale: float = 1.0) -> Path:
    """Write the model to `path`: with its inputs of the cache, or (`cache` false) as the model that makes it, for the
    prompt. Weights are the same for the same seed; `scale` multiplies those of the gated feed-forward."""
    model = onnx.parser.parse_model(_text(cache))
    rng = np.random.default_rng(seed)
    model.graph.initializer.extend(numpy_helper.from_array(w, n) for n, w in _weights(rng, scale).items())
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    return path


def _weights(rng: np.random.Generator, scale: float) -> dict[str, np.ndarray]:
    def matrix(rows: int, columns: int) -> np.ndarray:
        return (rng.standard_normal((rows, columns)) / np.sqrt(rows)).astype(np.float32)

    found = {
        "embedding": rng.standard_normal((VOCABULARY, WIDTH)).astype(np.float32),
        "head": matrix(WIDTH, VOCABULARY),
    }
    for n in range(LAYERS):
        found |= {f"{name}_{n}": matrix(WIDTH, WIDTH) for name in ("wq", "wk", "wv", "wo")}
        found |= {f"gate_{n}": matrix(WIDTH, HIDDEN) * np.float32(scale), f"up_{n}": matrix(WIDTH, HIDDEN)}
        found |= {f"down_{n}": matrix(HIDDEN, WIDTH) / np.float32(scale)}
        found |= {f"{name}_{n}": np.ones(WIDTH, np.float32) for name in ("norm1", "norm2")}
    half = HEAD // 2
    found["frequencies"] = (10000.0 ** (-np.arange(half) / half)).astype(np.float32).reshape(1, half)
    return found | {"norm": np.ones(WIDTH, np.float32)}


def _text(cache: bool) -> str:
    """The model as text; without `cache` the past has no column."""
    kinds = [f"{n}_{kind}" for n in range(LAYERS) for kind in ("key", "value")]
    past = "".join(f", float[batch, {HEADS}, past, {HEAD}] past_{kind}" for kind in kinds) if cache else ""
    present = "".join(f", float[batch, {HEADS}, total, {HEAD}] present_{kind}" for kind in kinds)
    positions = "int64[batch, sequence] position_ids"
    return f"""<ir_version: 10, opset_import: ["": 20]>
decoder (int64[batch, sequence] input_ids, int64[batch, total] attention_mask, {positions}{past})
=> (float[batch, sequence, {VOCABULARY}] logits{present})
<int64[4] heads = {{0, 0, {HEADS}, {HEAD}}}, int64[3] flat = {{0, 0, {WIDTH}}}, int64[1] zero = {{0}},
 int64[1] one = {{1}}, int64[1] two = {{2}}, int64[1] last = {{-1}}, int64[1] halves = {{{HEAD // 2}}},
 int64[1] end = {{{HEAD}}},
 float lowest = {{-1e9}}, float none = {{0}}, float epsilon = {{1e-6}}, float root = {{{HEAD**-0.5}}},
 int64 s0 = {{0}}, int64 s1 = {{1}}>
{{
{_positions()}
    x_0 = Gather(embedding, input_ids)
{"".join(_layer(n, cache) for n in range(LAYERS))}
{_norm("final", f"x_{LAYERS}", "norm")}
    logits = MatMul(final, head)
}}"""


def _positions() -> str:
    """Which keys a query may see, [batch, 1, sequence, total], and the rotary angles, [batch, 1, sequence, half]."""
    return """
    mask_shape = Shape(attention_mask)
    ids_shape = Shape(input_ids)
    total_1 = Gather(mask_shape, one)
    length_1 = Gather(ids_shape, one)
    past_1 = Sub(total_1, length_1)
    total = Squeeze(total_1)
    past = Squeeze(past_1)
    keys = Range(s0, total, s1)
    queries = Range(past, total, s1)
    column = Unsqueeze(queries, last)
    causal = LessOrEqual(keys, column)
    attended_1 = Cast<to = 9>(attention_mask)
    axes = Concat<axis = 0>(one, two)
    attended = Unsqueeze(attended_1, axes)
    seen = And(attended, causal)
    mask = Where(seen, none, lowest)
    position = Cast<to = 1>(position_ids)
    position_4 = Unsqueeze(position, last)
    angles_3 = MatMul(position_4, frequencies)
    angles = Unsqueeze(angles_3, one)
    cosine = Cos(angles)
    sine = Sin(angles)"""


def _norm(name: str, x: str, weight: str) -> str:
    """Root mean square normalisation (Zhang and Sennrich, 2019, equation 4)."""
    return f"""
    {name}_square = Mul({x}, {x})
    {name}_mean = ReduceMean<keepdims = 1>({name}_square, last)
    {name}_guarded = Add({name}_mean, epsilon)
    {name}_rms = Sqrt({name}_guarded)
    {name}_unit = Div({x}, {name}_rms)
    {name} = Mul({name}_unit, {weight})"""


def _rotated(name: str) -> str:
    """`name`, [batch, heads, sequence, head], turned by the angles, as ``{name}_turned``."""
    return f"""
    {name}_a = Slice({name}, zero, halves, last)
    {name}_b = Slice({name}, halves, end, last)
    {name}_ac = Mul({name}_a, cosine)
    {name}_bs = Mul({name}_b, sine)
    {name}_bc = Mul({name}_b, cosine)
    {name}_as = Mul({name}_a, sine)
    {name}_first = Sub({name}_ac, {name}_bs)
    {name}_second = Add({name}_bc, {name}_as)
    {name}_turned = Concat<axis = -1>({name}_first, {name}_second)"""


def _split(name: str, x: str, weight: str) -> str:
    return f"""
    {name}_flat = MatMul({x}, {weight})
    {name}_split = Reshape({name}_flat, heads)
    {name} = Transpose<perm = [0, 2, 1, 3]>({name}_split)"""


def _layer(n: int, cache: bool) -> str:
    key, value = f"present_{n}_key", f"present_{n}_value"
    join = (
        f"""
    {key} = Concat<axis = 2>(past_{n}_key, k_{n}_turned)
    {value} = Concat<axis = 2>(past_{n}_value, v_{n})"""
        if cache
        else f"""
    {key} = Identity(k_{n}_turned)
    {value} = Identity(v_{n})"""
    )
    return f"""
{_norm(f"n1_{n}", f"x_{n}", f"norm1_{n}")}
{_split(f"q_{n}", f"n1_{n}", f"wq_{n}")}{_split(f"k_{n}", f"n1_{n}", f"wk_{n}")}{_split(f"v_{n}", f"n1_{n}", f"wv_{n}")}
{_rotated(f"q_{n}")}{_rotated(f"k_{n}")}{join}
    kt_{n} = Transpose<perm = [0, 1, 3, 2]>({key})
    scores_{n} = MatMul(q_{n}_turned, kt_{n})
    scaled_{n} = Mul(scores_{n}, root)
    masked_{n} = Add(scaled_{n}, mask)
    attention_{n} = Softmax<axis = -1>(masked_{n})
    mixed_{n} = MatMul(attention_{n}, {value})
    back_{n} = Transpose<perm = [0, 2, 1, 3]>(mixed_{n})
    joined_{n} = Reshape(back_{n}, flat)
    out_{n} = MatMul(joined_{n}, wo_{n})
    mid_{n} = Add(x_{n}, out_{n})
{_norm(f"n2_{n}", f"mid_{n}", f"norm2_{n}")}
    g_{n} = MatMul(n2_{n}, gate_{n})
    sigmoid_{n} = Sigmoid(g_{n})
    silu_{n} = Mul(g_{n}, sigmoid_{n})
    u_{n} = MatMul(n2_{n}, up_{n})
    gated_{n} = Mul(silu_{n}, u_{n})
    d_{n} = MatMul(gated_{n}, down_{n})
    x_{n + 1} = Add(mid_{n}, d_{n})"""
