"""Small models with one defect each, as ONNX text, and the code that names it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
import onnx.parser

QKV = "float16[1,12,128,64] q, float16[1,12,64,128] k, float16[1,12,128,64] v"
QKV32 = QKV.replace("float16", "float")
BIG = "float16[64,64]"


@dataclass(frozen=True)
class PlantedDefect:
    """A model with the defect `code` at `node`.

    In `nodes`, up is a Cast to FP32, down one to FP16 and brain one to BF16; nodes are named as their first results.
    `constants` are FP16 numbers, `weights` matrices of 64 by 64 of a type, by name.
    """

    code: str
    nodes: str
    inputs: str = f"{BIG} x"
    outputs: str = f"{BIG} y"
    node: str = "graph/y"
    constants: dict[str, float] | None = None
    numbers: str = ""
    weights: dict[str, type[np.generic]] | None = None
    opset: int = 22
    domains: str = ""

    def model(self) -> onnx.ModelProto:
        """The model, valid but for what is planted in it."""
        nodes = nodes_of(self.nodes)
        head = f'<ir_version: 10, opset_import: ["" : {self.opset}{self.domains}]>'
        numbers = f"<{self.numbers}>" if self.numbers else ""
        model = onnx.parser.parse_model(f"{head} main ({self.inputs}) => ({self.outputs}) {numbers} {{ {nodes} }}")
        for name, number in (self.constants or {}).items():
            model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([number], np.float16), name))
        weight = np.random.default_rng(0).standard_normal((64, 64), np.float32)
        for name, dtype in (self.weights or {}).items():
            model.graph.initializer.append(onnx.numpy_helper.from_array(weight.astype(dtype), name))
        for node in model.graph.node:
            node.name = node.output[0]
        return model


def nodes_of(text: str) -> str:
    """`text` with its casts written out."""
    for word, number in (("up", 1), ("down", 10), ("brain", 16)):
        text = text.replace(f"{word}(", f"Cast<to={number}>(")
    return text


def attention(code: str, nodes: str, node: str = "graph/p", **given: object) -> PlantedDefect:
    """A defect of an attention core, at its Softmax."""
    facts = {"inputs": QKV, "outputs": "float16[1,12,128,64] y", "constants": {"s": 0.125}} | given
    return PlantedDefect(code, nodes, node=node, **facts)  # type: ignore[arg-type]


HALF, FULL = np.float16, np.float32

PLANTED: dict[str, PlantedDefect] = {
    "all of attention in FP32": attention(
        "AC101",
        "a = MatMul(q, k) b = Mul(a, s) p = Softmax(b) o = MatMul(p, v) y = down(o)",
        inputs=QKV32,
        constants=None,
        numbers="float[1] s = {0.125}",
    ),
    "the product and the scale behind it in FP32": attention(
        "AC102",
        "u = up(q) w = up(k) a = MatMul(u, w) b = Mul(a, s) c = down(b) p = Softmax(c) y = MatMul(p, v)",
        constants=None,
        numbers="float[1] s = {0.125}",
    ),
    "Softmax and P·V in FP32": attention(
        "AC102",
        "qs = Mul(q, s) a = MatMul(qs, k) b = up(a) p = Softmax(b) w = up(v) o = MatMul(p, w) y = down(o)",
    ),
    "attention upcast as a whole": attention(
        "AC101",
        "u = up(q) w = up(k) t = up(v) a = MatMul(u, w) p = Softmax(a) o = MatMul(p, t) y = down(o)",
        constants=None,
    ),
    "one product in FP16, one in BF16": attention(
        "AC103",
        "qs = Mul(q, s) a = MatMul(qs, k) c = Softmax(a) p = brain(c) w = brain(v) o = MatMul(p, w) y = down(o)",
        node="graph/c",
    ),
    "heads of 320": attention(
        "AC104",
        "qs = Mul(q, s) a = MatMul(qs, k) p = Softmax(a) y = MatMul(p, v)",
        inputs="float16[1,12,128,320] q, float16[1,12,320,128] k, float16[1,12,128,320] v",
        outputs="float16[1,12,128,320] y",
    ),
    "V of another head size": attention(
        "AC104",
        "qs = Mul(q, s) a = MatMul(qs, k) p = Softmax(a) y = MatMul(p, v)",
        inputs=QKV.replace("128,64] v", "128,32] v"),
        outputs="float16[1,12,128,32] y",
    ),
    "a soft cap": attention(
        "AC104",
        "qs = Mul(q, s) a = MatMul(qs, k) b = Div(a, s) c = Tanh(b) d = Mul(c, s) p = Softmax(d) y = MatMul(p, v)",
    ),
    "scores transposed": attention(
        "AC104",
        "qs = Mul(q, s) a = MatMul(k, qs) p = Softmax<axis=-2>(a) y = MatMul(v, p)",
        inputs="float16[1,12,64,128] q, float16[1,12,128,64] k, float16[1,12,64,128] v",
        outputs="float16[1,12,64,128] y",
    ),
    "attention weights as an output": attention(
        "AC105",
        "qs = Mul(q, s) a = MatMul(qs, k) p = Softmax(a) y = MatMul(p, v)",
        outputs="float16[1,12,128,64] y, float16[1,12,128,128] p",
    ),
    "scores read by another node": attention(
        "AC105",
        "qs = Mul(q, s) a = MatMul(qs, k) p = Softmax(a) y = MatMul(p, v) z = Relu(a)",
        outputs="float16[1,12,128,64] y, float16[1,12,128,128] z",
    ),
    "the scale behind the product": attention(
        "AC106", "a = MatMul(q, k) b = Mul(a, s) p = Softmax(b) y = MatMul(p, v)", node="graph/a"
    ),
    "the scale behind the product as a division": attention(
        "AC106", "a = MatMul(q, k) b = Div(a, s) p = Softmax(b) y = MatMul(p, v)", node="graph/a"
    ),
    "casts up and down again": PlantedDefect("AC201", "a = Relu(x) b = up(a) c = down(b) y = Abs(c)", node="graph/c"),
    "casts down and up again": PlantedDefect(
        "AC201",
        "a = Relu(x) b = down(a) c = up(b) y = Abs(c)",
        inputs="float[64,64] x",
        outputs="float[64,64] y",
        node="graph/c",
    ),
    "a cast of what a loop does not change": PlantedDefect(
        "AC202",
        """
        t = Abs(x)
        y = Loop(n, , x) <body = step (int64 i, bool c, float16[64,64] s) => (bool d, float16[64,64] r) {
            d = Identity(c)
            [turn] u = Cast<to=1>(t)
            e = Exp(u)
            f = Cast<to=10>(e)
            r = Add(s, f)
        }>
        """,
        inputs=f"{BIG} x, int64 n",
        node="graph/y:body/turn",
    ),
    "a state that is cast in every iteration": PlantedDefect(
        "AC202",
        """
        y = Loop(n, , x) <body = step (int64 i, bool c, float16[64,64] s) => (bool d, float16[64,64] r) {
            d = Identity(c)
            [turn] u = Cast<to=1>(s)
            e = Exp(u)
            r = Cast<to=10>(e)
        }>
        """,
        inputs=f"{BIG} x, int64 n",
        node="graph/y:body/turn",
    ),
    "a cast to the same type": PlantedDefect("AC203", "a = Relu(x) b = down(a) y = Abs(b)", node="graph/b"),
    "a cast made twice": PlantedDefect(
        "AC204",
        "a = Relu(x) b = up(a) c = up(a) d = Exp(b) e = Sin(c) f = Add(d, e) y = down(f)",
        node="graph/c",
    ),
    "a weight cast when the model runs": PlantedDefect(
        "AC205", "w = down(wide) y = MatMul(x, w)", node="graph/w", weights={"wide": FULL}
    ),
    "an FP32 island": PlantedDefect(
        "AC301", "a = Relu(x) b = up(a) c = Exp(b) d = Sin(c) e = down(d) y = Abs(e)", node="graph/c"
    ),
    "an FP32 island at the inputs": PlantedDefect(
        "AC301", "c = Exp(x) d = Sin(c) e = down(d) y = Abs(e)", inputs="float[64,64] x", node="graph/c"
    ),
    "a transposition in FP32": PlantedDefect(
        "AC302", "a = Relu(x) b = up(a) c = Transpose(b) e = down(c) y = Abs(e)", node="graph/c"
    ),
    "layout in FP32": PlantedDefect(
        "AC302",
        "a = Relu(x) b = up(a) c = Unsqueeze(b, ax) d = Squeeze(c, ax) e = down(d) y = Abs(e)",
        numbers="int64[1] ax = {0}",
        node="graph/c",
    ),
    "a constant that a cast makes infinite": PlantedDefect(
        "AC401", "w = down(big) y = Mul(x, w)", numbers="float[1] big = {100000.0}", node="graph/w"
    ),
    "a stored infinity": PlantedDefect("AC401", "y = Mul(x, big)", constants={"big": float("inf")}, node="big"),
    "an epsilon of 0 in front of a division": PlantedDefect(
        "AC402", "a = ReduceMax(x) b = Add(a, eps) y = Div(x, b)", constants={"eps": 0.0}, node="graph/b"
    ),
    "an epsilon of 0 in front of a root": PlantedDefect(
        "AC402",
        "a = Mul(x, x) b = Add(a, eps) c = Sqrt(b) d = Reciprocal(c) y = Mul(x, d)",
        constants={"eps": 0.0},
        node="graph/b",
    ),
    "a clip to 0 in front of a logarithm": PlantedDefect(
        "AC402", "b = Clip(x, eps) y = Log(b)", numbers="float16 eps = {0}", node="graph/b"
    ),
    "a guard in FP32 whose result vanishes in FP16": PlantedDefect(
        "AC402",
        "a = ReduceMax(x) w = up(a) b = Max(w, eps) c = down(b) y = Div(x, c)",
        numbers="float[1] eps = {1e-12}",
        node="graph/b",
    ),
    "an epsilon that is subnormal": PlantedDefect(
        "AC403", "a = ReduceMax(x) b = Add(a, eps) y = Div(x, b)", constants={"eps": 1e-6}, node="graph/b"
    ),
    "a norm's epsilon that is subnormal": PlantedDefect(
        "AC403",
        "y = LayerNormalization<epsilon=1e-12>(x, one)",
        constants={"one": 1.0},
        node="graph/y",
    ),
    "a constant that a cast makes 0": PlantedDefect(
        "AC404", "w = down(small) y = Mul(x, w)", numbers="float[1] small = {1e-9}", node="graph/w"
    ),
    "a mask of infinity": attention(
        "AC405",
        "qs = Mul(q, s) a = MatMul(qs, k) b = Where(m, a, never) p = Softmax(b) y = MatMul(p, v)",
        inputs=QKV + ", bool[1,1,128,128] m",
        constants={"s": 0.125, "never": float("-inf")},
        node="never",
    ),
    "a normalisation in FP16": PlantedDefect("AC501", "y = LayerNormalization(x, one)", constants={"one": 1.0}),
    "a sum in FP16": PlantedDefect("AC502", "y = ReduceSum(x)", outputs="float16[1,1] y"),
    "a mean over an image in FP16": PlantedDefect(
        "AC503", "y = GlobalAveragePool(x)", inputs="float16[1,3,512,512] x", outputs="float16[1,3,1,1] y"
    ),
    "a mean over 131072 elements in FP16": PlantedDefect(
        "AC503",
        "y = ReduceMean(x, axes)",
        inputs="float16[2,131072] x",
        outputs="float16[2,1] y",
        numbers="int64[1] axes = {1}",
    ),
    "LogSoftmax in FP16": PlantedDefect("AC504", "y = LogSoftmax(x)"),
    "Log of Softmax in FP16": PlantedDefect("AC504", "a = Softmax(x) y = Log(a)"),
    "an RNN in FP16": PlantedDefect(
        "AC505",
        "y, z = RNN<hidden_size=4>(x, w, r)",
        inputs="float16[5,1,4] x, float16[1,4,4] w, float16[1,4,4] r",
        outputs="float16[5,1,1,4] y",
    ),
    "a weight stored twice": PlantedDefect(
        "AC601", "a = MatMul(x, first) y = MatMul(a, second)", weights={"first": HALF, "second": HALF}, node="second"
    ),
    "a weight stored in both types": PlantedDefect(
        "AC601",
        "a = up(x) b = MatMul(a, first) c = down(b) y = MatMul(c, second)",
        weights={"first": FULL, "second": HALF},
        node="second",
    ),
    "an operator that is refused in BF16": PlantedDefect(
        "AC701", "y = HardSwish(x)", inputs="bfloat16[2,3] x", outputs="bfloat16[2,3] y"
    ),
    "an attention operator in FP32": PlantedDefect(
        "AC701",
        "y = Attention(x, x, x)",
        inputs="float[1,2,4,16] x",
        outputs="float[1,2,4,16] y",
        opset=23,
    ),
    "an opset that is not read": PlantedDefect(
        "AC702", "y = Relu(x)", inputs="float[2] x", outputs="float[2] y", opset=8, node="model"
    ),
}
