"""Models with planted sensitive nodes, and a search as a call."""

import numpy as np
import onnx

from autocast_core.config import ConversionConfig
from autocast_core.data import input_specs, open_batches
from autocast_core.model import load_proto
from autocast_core.pipeline.job import open_runtime
from autocast_core.sanitize import sanitize
from autocast_core.search import SearchLimits, SearchRequest, SearchSubject, search

PLANTED = """
<ir_version: 9, opset_import: ["": 18]>
planted (float[N, 16] x, int64[N, 16] p) => (float[N, 8] y)
<float[16, 16] w1, float[16, 16] w2, float[16, 8] w3, float k = {300}, float[1] m = {90000}, float h = {1500},
 float f = {0.5}, float s = {2000}, int64[1] last = {-1}>
{
    [embed] a = MatMul(x, w1)
    [act] b = Tanh(a)
    [up] u = Mul(b, k)
    [overflow] o = Mul(u, k)
    [down] d = Div(o, m)
    [mix] e = MatMul(d, w2)
    [shift] g = Add(e, h)
    [unshift] i = Sub(g, h)
    [position] pf = Cast <to = 1> (p)
    [angle] q = Mul(pf, f)
    [wave] r = Sin(q)
    [loud] l = Mul(b, s)
    [square] l2 = Mul(l, l)
    [sum] t = ReduceSum(l2, last)
    [root] t2 = Sqrt(t)
    [norm] n = Div(l, t2)
    [join] j = Add(i, r)
    [join2] j2 = Add(j, n)
    [act2] z = Tanh(j2)
    [head] y = MatMul(z, w3)
}
"""
BRANCHES = """
<ir_version: 9, opset_import: ["": 18]>
branches (float[N, 4] x, bool c) => (float[N, 4] y) <float k = {300.0}, float m = {90000.0}>
{
    [first] h = Mul(x, k)
    [choice] r = If (c) <
        then_branch = then () => (float[N, 4] a) { [big] b = Mul(h, k) [small] a = Div(b, m) },
        else_branch = other () => (float[N, 4] d) { [same] d = Identity(h) }>
    [last] y = Sin(r)
}
"""
"""Nodes that overflow in one branch of an If, and not in the other."""
DEFAULT = ConversionConfig()
SENSITIVE = {"overflow", "down", "shift", "unshift", "angle", "wave", "square", "sum", "root"}


def filled(text, **weights):
    """The model in `text` with these arrays for its initializers that have no value."""
    proto = onnx.parser.parse_model(text)
    for tensor in proto.graph.initializer:
        if tensor.name in weights:
            tensor.CopyFrom(onnx.numpy_helper.from_array(weights[tensor.name], tensor.name))
    return proto


def planted_model():
    """The model and data whose only sensitive nodes are SENSITIVE."""
    rng = np.random.default_rng(0)
    shapes = {"w1": (16, 16), "w2": (16, 16), "w3": (16, 8)}
    weights = {name: (rng.normal(size=shape) / 4).astype("f4") for name, shape in shapes.items()}
    zeroed = PLANTED
    for name, (rows, columns) in shapes.items():
        zeroed = zeroed.replace(f"] {name}", f"] {name} = {{{', '.join(['0'] * rows * columns)}}}")
    data = {
        "x": rng.normal(size=(24, 16)).astype("f4"),
        "p": rng.integers(2049, 8000, size=(24, 16)),
        "labels": rng.integers(0, 8, size=24),
    }
    return filled(zeroed, **weights), data


def searched(proto, data, *budgets, batch_size=8, cost="nodes", metric=None, pareto=False, config=DEFAULT, **options):
    """A search on an in-memory model; `options` are those of SearchLimits and of search()."""
    source = load_proto(proto)
    sanitized = sanitize(source, config).model
    batches = open_batches(data, input_specs(source), batch_size=batch_size)
    runtime = options.pop("runtime", None) or open_runtime(config)
    else_cost = options.pop("else_cost", None)
    limits = {name: options.pop(name) for name in ("max_trials", "minutes", "workers", "clock") if name in options}
    subject = SearchSubject(sanitized, batches, runtime, config, source)
    return search(subject, SearchRequest(budgets, cost, metric, pareto, else_cost), SearchLimits(**limits), **options)


def names(ids):
    return {node_id.removeprefix("graph/") for node_id in ids}
