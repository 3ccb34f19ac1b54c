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

    In `nodes`, up is a Cast to FP32, down one to FP16, brain one to BF16 and double one to FP64; nodes are named as
    their first results.
    `constants` are FP16 numbers, `weights` matrices of 64 by 64 of a type, by name; `flat` is one of a single row.
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
            shaped = weight.reshape(1, -1) if name == "flat" else weight
            model.graph.initializer.append(onnx.numpy_helper.from_array(shaped.astype(dtype), name))
        for node in model.graph.node:
            node.name = node.output[0]
        return model


def nodes_of(text: str) -> str:
    """`text` with its casts written out."""
    for word, number in (("up", 1), ("down", 10), ("brain", 16), ("double", 11)):
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
    "casts by way of FP64": PlantedDefect("AC201", "a = Relu(x) b = double(a) c = down(b) y = Abs(c)", node="graph/c"),
    "three casts that give back the first type": PlantedDefect(
        "AC201", "a = Relu(x) b = up(a) c = double(b) d = down(c) y = Abs(d)", node="graph/d"
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
    "a cast of state that is handed on": PlantedDefect(
        "AC202",
        """
        y, z = Loop(n, , x, t) <body = step (int64 i, bool c, float16[64,64] s, float[64,64] k)
        => (bool d, float16[64,64] r, float[64,64] l) {
            d = Identity(c)
            l = Identity(k)
            [turn] u = Cast<to=10>(k)
            r = Add(s, u)
        }>
        """,
        inputs=f"{BIG} x, float[64,64] t, int64 n",
        outputs=f"{BIG} y, float[64,64] z",
        node="graph/y:body/turn",
    ),
    "a cast to the same type": PlantedDefect("AC203", "a = Relu(x) b = down(a) y = Abs(b)", node="graph/b"),
    "a cast made twice": PlantedDefect(
        "AC204",
        "a = Relu(x) b = up(a) c = up(a) d = Exp(b) e = Sin(c) f = Add(d, e) y = down(f)",
        node="graph/c",
    ),
    "a cast made again in a branch": PlantedDefect(
        "AC204",
        """
        a = Relu(x)
        b = up(a)
        z = Exp(b)
        y = If(k) <
            then_branch = one () => (float[64,64] t) { [again] c = Cast<to=1>(a) t = Sin(c) },
            else_branch = two () => (float[64,64] e) { e = Sin(b) }
        >
        """,
        inputs=f"{BIG} x, bool k",
        outputs="float[64,64] y, float[64,64] z",
        node="graph/y:then_branch/again",
    ),
    "a weight cast when the model runs": PlantedDefect(
        "AC205", "w = down(wide) y = MatMul(x, w)", node="graph/w", weights={"wide": FULL}
    ),
    "a weight that is transposed and cast": PlantedDefect(
        "AC205", "t = Transpose(wide) w = down(t) y = MatMul(x, w)", node="graph/w", weights={"wide": FULL}
    ),
    "a weight in FP64": PlantedDefect(
        "AC205", "w = down(wide) y = MatMul(x, w)", node="graph/w", weights={"wide": np.float64}
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
    "a concatenation in FP32": PlantedDefect(
        "AC302",
        "a = Relu(x) b = up(a) w = up(x) c = Concat<axis=0>(b, w) e = down(c) y = Abs(e)",
        outputs="float16[128,64] y",
        node="graph/c",
    ),
    "a constant that a cast makes infinite": PlantedDefect(
        "AC401", "w = down(big) y = Mul(x, w)", numbers="float[1] big = {100000.0}", node="graph/w"
    ),
    "a stored infinity": PlantedDefect("AC401", "y = Mul(x, big)", constants={"big": float("inf")}, node="big"),
    "a constant that is laid out and made infinite": PlantedDefect(
        "AC401",
        "r = Reshape(big, to) w = down(r) y = Mul(x, w)",
        numbers="float[1] big = {100000.0}, int64[2] to = {1,1}",
        node="graph/w",
    ),
    "a whole number beyond FP16": PlantedDefect(
        "AC401", "w = down(big) y = Mul(x, w)", numbers="int64[1] big = {100000}", node="graph/w"
    ),
    "a filled tensor that a cast makes infinite": PlantedDefect(
        "AC401",
        "f = ConstantOfShape<value = float[1] {1e6}>(size) w = down(f) y = Mul(x, w)",
        numbers="int64[2] size = {64,64}",
        node="graph/w",
    ),
    "a factor of infinity in a mask": PlantedDefect(
        "AC401",
        "a = Mul(m, never) b = Add(x, a) y = Softmax(b)",
        inputs=f"{BIG} x, {BIG} m",
        node="never",
        constants={"never": float("-inf")},
    ),
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
    "a clip by an attribute": PlantedDefect(
        "AC402", "a = ReduceMax(x) b = Clip<min = 0.0>(a) y = Div(x, b)", opset=10, node="graph/b"
    ),
    "an epsilon filled in": PlantedDefect(
        "AC402",
        "e = ConstantOfShape<value = float16[1] {0}>(size) a = ReduceMax(x) b = Add(a, e) y = Div(x, b)",
        numbers="int64[1] size = {1}",
        node="graph/b",
    ),
    "a lower bound of 0 in front of a root and a division": PlantedDefect(
        "AC402", "b = Max(x, eps) c = Sqrt(b) y = Div(x, c)", constants={"eps": 0.0}, node="graph/b"
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
    "a norm's epsilon that is not written": PlantedDefect(
        "AC403", "y = LayerNormalization(x, one)", constants={"one": 1.0}
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
    "a mask of infinity that is laid out": attention(
        "AC405",
        "qs = Mul(q, s) a = MatMul(qs, k) n = Expand(never, to) b = Add(a, n) p = Softmax(b) y = MatMul(p, v)",
        constants={"s": 0.125, "never": float("-inf")},
        numbers="int64[4] to = {1,1,128,128}",
        node="never",
    ),
    "a mask that a cast makes infinite": attention(
        "AC405",
        "qs = Mul(q, s) a = MatMul(qs, k) n = down(never) b = Where(m, a, n) p = Softmax(b) y = MatMul(p, v)",
        inputs=QKV + ", bool[1,1,128,128] m",
        numbers="float[1] never = {-3.4e38}",
        node="graph/n",
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
    "a pooling window of 90000": PlantedDefect(
        "AC503",
        "y = AveragePool<kernel_shape = [300,300]>(x)",
        inputs="float16[1,3,300,300] x",
        outputs="float16[1,3,1,1] y",
    ),
    "LogSoftmax in FP16": PlantedDefect("AC504", "y = LogSoftmax(x)"),
    "Log of Softmax in FP16": PlantedDefect("AC504", "a = Softmax(x) y = Log(a)"),
    "Log in FP32 of a Softmax in FP16": PlantedDefect(
        "AC504", "a = Softmax(x) b = up(a) c = Transpose(b) y = Log(c)", outputs="float[64,64] y"
    ),
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
    "a weight stored in two shapes": PlantedDefect(
        "AC601",
        "a = MatMul(x, first) r = Reshape(flat, to) y = MatMul(a, r)",
        weights={"first": HALF, "flat": HALF},
        numbers="int64[2] to = {64,64}",
        node="flat",
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
    "an operator of ONNX Runtime": PlantedDefect(
        "AC703",
        "y = com.microsoft.BiasGelu(x, b)",
        inputs="float16[2,8] x, float16[8] b",
        outputs="float16[2,8] y",
        domains=', "com.microsoft" : 1',
    ),
    "an operator that no type helps": PlantedDefect("AC703", "y = Det(x)", outputs="float16 y"),
}

HARMLESS: dict[str, PlantedDefect] = {
    "bounds of infinity": PlantedDefect(
        "AC401", "y = Clip(x, low, high)", constants={"low": float("-inf"), "high": float("inf")}
    ),
    "a largest number that starts at infinity": PlantedDefect(
        "AC401", "y = Max(x, low)", constants={"low": float("-inf")}
    ),
    "a border of infinity that is pooled": PlantedDefect(
        "AC401",
        "a = Pad(x, wide, low) y = MaxPool<kernel_shape = [2,2]>(a)",
        inputs="float16[1,3,8,8] x",
        outputs="float16[1,3,9,9] y",
        constants={"low": float("-inf")},
        numbers="int64[8] wide = {0,0,1,1,0,0,1,1}",
    ),
    "choices that infinity takes out": PlantedDefect(
        "AC401",
        "a = Where(m, x, low) y = ArgMax<axis = 1, keepdims = 0>(a)",
        inputs=f"{BIG} x, bool[64,64] m",
        outputs="int64[64] y",
        constants={"low": float("-inf")},
    ),
    "a number that rounds to the largest": PlantedDefect(
        "AC401", "w = down(big) y = Mul(x, w)", numbers="float[1] big = {65510.0}"
    ),
    "a square": PlantedDefect("AC402", "b = Add(x, zero) y = Pow(b, two)", constants={"zero": 0.0, "two": 2.0}),
    "a lower bound of 0 in front of a root": PlantedDefect(
        "AC402", "b = Clip(x, zero) y = Sqrt(b)", numbers="float16 zero = {0}"
    ),
    "an epsilon whose root FP16 holds": PlantedDefect(
        "AC402",
        "w = up(x) b = Max(w, eps) c = Sqrt(b) d = down(c) y = Div(x, d)",
        numbers="float[1] eps = {1e-12}",
    ),
    "a mask of infinity behind which NaN is replaced": attention(
        "AC405",
        "qs = Mul(q, s) a = MatMul(qs, k) b = Where(m, a, never) p = Softmax(b) n = IsNaN(p) g = Where(n, none, p) "
        "y = MatMul(g, v)",
        inputs=QKV + ", bool[1,1,128,128] m",
        constants={"s": 0.125, "never": float("-inf"), "none": 0.0},
    ),
    "a sum over no axis": PlantedDefect(
        "AC503",
        "y = ReduceSum<noop_with_empty_axes = 1>(x)",
        inputs="float16[1,131072] x",
        outputs="float16[1,131072] y",
    ),
    "a sum over axes that are computed": PlantedDefect(
        "AC503", "y = ReduceMean(x, axes)", inputs="float16[1,131072] x, int64[1] axes", outputs="float16[1,1] y"
    ),
    "a cast by way of whole numbers": PlantedDefect("AC201", "a = Cast<to=7>(x) b = up(a) c = down(b) y = Abs(c)"),
    "casts of one value in two branches": PlantedDefect(
        "AC204",
        """
        a = Relu(x)
        y = If(k) <
            then_branch = one () => (float[64,64] t) { c = Cast<to=1>(a) t = Sin(c) },
            else_branch = two () => (float[64,64] e) { d = Cast<to=1>(a) e = Exp(d) }
        >
        """,
        inputs=f"{BIG} x, bool k",
        outputs="float[64,64] y",
    ),
    "a concatenation with what FP32 made": PlantedDefect(
        "AC302",
        "b = up(x) c = Concat<axis=0>(b, z) e = down(c) y = Abs(e)",
        inputs=f"{BIG} x, float[64,64] z",
        outputs="float16[128,64] y",
    ),
    "an operator of a plugin": PlantedDefect("AC703", "y = plugin.Bar(x)", domains=', "plugin" : 1'),
}
"""What looks like the defect `code` and is none."""
