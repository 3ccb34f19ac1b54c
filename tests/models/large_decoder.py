"""A decoder of real shapes with its weights in external data, written without holding them: RMSNorm, causal attention,
gated feed-forward, no cache. The defaults are those of Llama 2 7B (Touvron et al., 2023) but for its 32 layers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

_BLOCK = 1 << 22
"""Random numbers that are drawn; weights repeat them, each from another place on."""


@dataclass(frozen=True)
class DecoderShape:
    """Layers, and the sizes of one."""

    layers: int = 24
    width: int = 4096
    hidden: int = 11008
    heads: int = 32
    vocabulary: int = 32000

    def weights(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """The names and shapes of all, in the order in which they are read."""
        yield "embedding", (self.vocabulary, self.width)
        for n in range(self.layers):
            yield f"norm1_{n}", (self.width,)
            yield from ((f"{name}_{n}", (self.width, self.width)) for name in ("wq", "wk", "wv", "wo"))
            yield f"norm2_{n}", (self.width,)
            yield from ((f"{name}_{n}", (self.width, self.hidden)) for name in ("gate", "up"))
            yield f"down_{n}", (self.hidden, self.width)
        yield "norm", (self.width,)
        yield "head", (self.width, self.vocabulary)


def build_large_decoder(path: Path, shape: DecoderShape) -> int:
    """Writes the model to `path` and its weights beside it; the bytes of these."""
    model = onnx.parser.parse_model(_text(shape))
    numbers = np.random.default_rng(0).standard_normal(_BLOCK, np.float32)
    offset = 0
    with path.with_name("weights.bin").open("wb") as file:
        for index, (name, dims) in enumerate(shape.weights()):
            count = int(np.prod(dims))
            scale = np.float32(1.0 if name == "embedding" else dims[0] ** -0.5)
            block = np.roll(numbers, index * 1009) * scale if len(dims) > 1 else np.ones(count, np.float32)
            for start in range(0, count, _BLOCK):
                file.write(memoryview(block[: min(_BLOCK, count - start)]))
            tensor = onnx.TensorProto(name=name, dims=dims, data_type=onnx.TensorProto.FLOAT)
            tensor.data_location = onnx.TensorProto.EXTERNAL
            for key, value in (("location", "weights.bin"), ("offset", offset), ("length", count * 4)):
                tensor.external_data.add(key=key, value=str(value))
            model.graph.initializer.append(tensor)
            offset += count * 4
    path.write_bytes(model.SerializeToString())
    return offset


def decoder_samples(shape: DecoderShape, samples: int, length: int) -> dict[str, np.ndarray]:
    """Token numbers, seeded."""
    return {"ids": np.random.default_rng(1).integers(0, shape.vocabulary, (samples, length), np.int64)}


def _text(shape: DecoderShape) -> str:
    head = shape.width // shape.heads
    return f"""<ir_version: 10, opset_import: ["": 20]>
decoder (int64[batch, sequence] ids) => (float[batch, sequence, {shape.vocabulary}] logits)
<int64[4] split = {{0, 0, {shape.heads}, {head}}}, int64[3] flat = {{0, 0, {shape.width}}}, int64[1] last = {{-1}},
 int64[1] one = {{1}}, float epsilon = {{1e-6}}, float root = {{{head**-0.5}}}, float lowest = {{-1e4}},
 float none = {{0}}, int64 s0 = {{0}}, int64 s1 = {{1}}>
{{
    shape = Shape(ids) length_1 = Gather(shape, one) length = Squeeze(length_1)
    keys = Range(s0, length, s1) queries = Unsqueeze(keys, last)
    seen = LessOrEqual(keys, queries) mask = Where(seen, none, lowest)
    x_0 = Gather(embedding, ids)
{"".join(_layer(n) for n in range(shape.layers))}
{_norm("final", f"x_{shape.layers}", "norm")}
    logits = MatMul(final, head)
}}"""


def _norm(name: str, x: str, weight: str) -> str:
    return f"""
    {name}_square = Mul({x}, {x}) {name}_mean = ReduceMean <keepdims = 1> ({name}_square, last)
    {name}_guarded = Add({name}_mean, epsilon) {name}_rms = Sqrt({name}_guarded)
    {name}_unit = Div({x}, {name}_rms) {name} = Mul({name}_unit, {weight})"""


def _heads(name: str, x: str, weight: str, perm: str) -> str:
    return f"""
    {name}_flat = MatMul({x}, {weight}) {name}_split = Reshape({name}_flat, split)
    {name} = Transpose <perm = {perm}> ({name}_split)"""


def _layer(n: int) -> str:
    heads = "".join(
        _heads(f"{kind}_{n}", f"n1_{n}", f"w{kind}_{n}", "[0, 2, 3, 1]" if kind == "k" else "[0, 2, 1, 3]")
        for kind in ("q", "k", "v")
    )
    return f"""
{_norm(f"n1_{n}", f"x_{n}", f"norm1_{n}")}{heads}
    scores_{n} = MatMul(q_{n}, k_{n}) scaled_{n} = Mul(scores_{n}, root) masked_{n} = Add(scaled_{n}, mask)
    attention_{n} = Softmax <axis = -1> (masked_{n}) mixed_{n} = MatMul(attention_{n}, v_{n})
    back_{n} = Transpose <perm = [0, 2, 1, 3]> (mixed_{n}) joined_{n} = Reshape(back_{n}, flat)
    out_{n} = MatMul(joined_{n}, wo_{n}) mid_{n} = Add(x_{n}, out_{n})
{_norm(f"n2_{n}", f"mid_{n}", f"norm2_{n}")}
    g_{n} = MatMul(n2_{n}, gate_{n}) sigmoid_{n} = Sigmoid(g_{n}) silu_{n} = Mul(g_{n}, sigmoid_{n})
    u_{n} = MatMul(n2_{n}, up_{n}) gated_{n} = Mul(silu_{n}, u_{n})
    d_{n} = MatMul(gated_{n}, down_{n}) x_{n + 1} = Add(mid_{n}, d_{n})"""
