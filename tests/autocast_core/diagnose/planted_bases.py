"""Small nets in which faults are planted: a reference of each, its data, and the tensor where something is inserted.

Every node is called as its output.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import onnx
import onnx.numpy_helper

from tests.autocast_core.diagnose.diagnosed import model, normal

Arrays = Mapping[str, np.ndarray]
NORM = """
{o}_m = ReduceMean <axes = [-1]> ({i})
{o}_d = Sub({i}, {o}_m)
{o}_s = Mul({o}_d, {o}_d)
{o}_v = ReduceMean <axes = [-1]> ({o}_s)
{o}_e = Add({o}_v, eps)
{o}_q = Sqrt({o}_e)
{o}_n = Div({o}_d, {o}_q)
{o}_g = Mul({o}_n, gain)
{o} = Add({o}_g, shift)
"""
GELU = """
{o}_a = Div({i}, sqrt2)
{o}_b = Erf({o}_a)
{o}_c = Add({o}_b, one)
{o}_d = Mul({i}, {o}_c)
{o} = Mul({o}_d, half)
"""


@dataclass(frozen=True)
class Base:
    """A reference and its data; faults go in at `site`, masks are added by the node `mask`, `axis` is one that has an
    axis (with the wrong one)."""

    model: onnx.ModelProto
    data: Arrays
    site: str
    mask: str = ""
    axis: tuple[str, str, int | list[int]] = ("", "", 0)


def mlp() -> Base:
    """Three layers with a softmax between them."""
    body = (
        "a = Gemm(x, w1, b1)\nr = Relu(a)\nh = Gemm(r, w2, b2)\np = Softmax <axis = -1> (h)\n"
        "c = Concat <axis = 1> (h, p)\ny = MatMul(c, w3)"
    )
    weights = {"w1": normal(16, 24, scale=0.4), "b1": normal(24, seed=1), "w2": normal(24, 16, seed=2, scale=0.3)}
    weights |= {"b2": normal(16, seed=3), "w3": normal(32, 8, seed=4, scale=0.3)}
    built = _named(body, "(float[N, 16] x) => (float[N, 8] y)", weights)
    return Base(built, {"x": normal(16, 16, seed=9)}, "h", axis=("p", "axis", 0))


def attention() -> Base:
    """A block of a transformer's encoder: attention with an additive mask, norm, GELU, residuals."""
    body = "\n".join(
        [
            "q = MatMul(x, wq)\nk = MatMul(x, wk)\nv = MatMul(x, wv)\nkt = Transpose <perm = [0, 2, 1]> (k)",
            "s = MatMul(q, kt)\nz = Mul(s, scale)\nm = Add(z, mask)\np = Softmax <axis = -1> (m)\nc = MatMul(p, v)",
            "o = MatMul(c, wo)\nr1 = Add(o, x)",
            NORM.format(i="r1", o="n1"),
            "h = MatMul(n1, w1)\nhb = Add(h, b1)",
            GELU.format(i="hb", o="u"),
            "f = MatMul(u, w2)\nr2 = Add(f, n1)",
            NORM.format(i="r2", o="y"),
        ]
    )
    weights = {name: normal(8, 8, seed=n, scale=0.5) for n, name in enumerate(("wq", "wk", "wv", "wo"))}
    weights |= {"w1": normal(8, 16, seed=5, scale=0.4), "b1": normal(16, seed=6, scale=0.1)}
    weights |= {"w2": normal(16, 8, seed=7, scale=0.3), "gain": 1 + normal(8, seed=8, scale=0.1)}
    weights |= {"shift": normal(8, seed=9, scale=0.1), **_scalars(scale=0.35, eps=1e-5, sqrt2=2**0.5, one=1, half=0.5)}
    built = _named(body, "(float[N, 6, 8] x, float[N, 1, 6] mask) => (float[N, 6, 8] y)", weights)
    mask = np.where(np.arange(6) < 4, 0.0, -1e4).astype(np.float32)
    data = {"x": normal(8, 6, 8, seed=11), "mask": np.broadcast_to(mask, (8, 1, 6)).copy()}
    return Base(built, data, "n1", mask="m", axis=("p", "axis", 1))


def convolution() -> Base:
    """Convolutions with a norm and a residual, pooled and classified."""
    body = (
        "a = Conv <pads = [1, 1, 1, 1]> (x, w1)\nb = BatchNormalization(a, g, sh, mu, va)\nr = Relu(b)\n"
        "h = Conv <pads = [1, 1, 1, 1]> (r, w2)\nd = Add(h, r)\nt = Transpose <perm = [0, 1, 3, 2]> (d)\n"
        "e = Mul(t, d)\np = GlobalAveragePool(e)\nf = Flatten(p)\ny = Gemm(f, w3, b3)"
    )
    weights = {"w1": normal(6, 3, 3, 3, scale=0.3), "g": 1 + normal(6, seed=1, scale=0.1), "sh": normal(6, seed=2)}
    weights |= {"mu": normal(6, seed=3, scale=0.1), "va": np.exp(normal(6, seed=4, scale=0.1))}
    weights |= {"w2": normal(6, 6, 3, 3, seed=5, scale=0.2), "w3": normal(6, 5, seed=6), "b3": normal(5, seed=7)}
    built = _named(body, "(float[N, 3, 8, 8] x) => (float[N, 5] y)", weights)
    return Base(built, {"x": normal(8, 3, 8, 8, seed=9)}, "h", axis=("t", "perm", [0, 1, 2, 3]))


def gated() -> Base:
    """A gated block of a decoder with an RMS norm, as LLaMA has it."""
    body = (
        "s2 = Mul(x, x)\nms = ReduceMean <axes = [-1]> (s2)\nme = Add(ms, eps)\nrt = Sqrt(me)\nn = Div(x, rt)\n"
        "ng = Mul(n, gain)\ng = MatMul(ng, wg)\nsg = Sigmoid(g)\nsw = Mul(g, sg)\nu = MatMul(ng, wu)\nh = Mul(sw, u)\n"
        "d = MatMul(h, wd)\nr = Add(d, x)\nl = MatMul(r, wl)\ny = LogSoftmax <axis = -1> (l)"
    )
    weights = {"gain": 1 + normal(8, seed=1, scale=0.1), "wg": normal(8, 16, seed=2, scale=0.6)}
    weights |= {"wu": normal(8, 16, seed=3, scale=0.6), "wd": normal(16, 8, seed=4, scale=0.5)}
    weights |= {"wl": normal(8, 10, seed=5, scale=0.5), **_scalars(eps=1e-5)}
    built = _named(body, "(float[N, 5, 8] x) => (float[N, 5, 10] y)", weights)
    return Base(built, {"x": normal(8, 5, 8, seed=9)}, "d", axis=("ms", "axes", [1]))


def embedding() -> Base:
    """Tokens looked up in a table of 4,096 rows, weighed by their neighbours."""
    body = (
        "e = Gather(table, ids)\nw = MatMul(e, w1)\np = Softmax <axis = -1> (w)\nh = Mul(p, e)\n"
        "t = Transpose <perm = [0, 2, 1]> (h)\nc = MatMul(h, t)\ny = MatMul(c, h)"
    )
    weights = {"table": normal(4096, 8), "w1": normal(8, 8, seed=1, scale=0.5)}
    built = _named(body, "(int64[N, 6] ids) => (float[N, 6, 8] y)", weights)
    return Base(built, {"ids": 2049 + 2 * np.arange(48).reshape(8, 6)}, "h", axis=("p", "axis", 1))


BASES: Mapping[str, Callable[[], Base]] = MappingProxyType(
    {"mlp": mlp, "attention": attention, "convolution": convolution, "gated": gated, "embedding": embedding}
)


def named_nodes(built: onnx.ModelProto) -> onnx.ModelProto:
    """The model with every node called as its first output."""
    for node in built.graph.node:
        node.name = node.output[0]
    return built


def with_weights(built: onnx.ModelProto, weights: Arrays) -> onnx.ModelProto:
    """The model with these initializers more."""
    for name, array in weights.items():
        built.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(array, np.float32), name))
    return built


def _named(body: str, io: str, weights: Arrays) -> onnx.ModelProto:
    return with_weights(named_nodes(model(body, io)), weights)


def _scalars(**numbers: float) -> Arrays:
    return {name: np.array(number, np.float32) for name, number in numbers.items()}
