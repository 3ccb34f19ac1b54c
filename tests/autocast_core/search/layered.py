"""A small transformer of any depth, with nodes in each layer whose rounding matters."""

import numpy as np
import onnx

_LAYER = """
    [l{i}_norm] n{i} = LayerNormalization (h{i}, g, b)
    [l{i}_query] q{i} = MatMul(n{i}, wq{i}) [l{i}_key] k{i} = MatMul(n{i}, wk{i})
    [l{i}_value] v{i} = MatMul(n{i}, wv{i}) [l{i}_turn] t{i} = Transpose <perm = [0, 2, 1]> (k{i})
    [l{i}_scores] s{i} = MatMul(q{i}, t{i})
    [l{i}_scale] z{i} = Mul(s{i}, scale) [l{i}_softmax] p{i} = Softmax(z{i}) [l{i}_mix] m{i} = MatMul(p{i}, v{i})
    [l{i}_out] o{i} = MatMul(m{i}, wo{i}) [l{i}_residual] r{i} = Add(h{i}, o{i})
    [l{i}_up] u{i} = MatMul(r{i}, wu{i}) [l{i}_shift] a{i} = Add(u{i}, far) [l{i}_back] c{i} = Sub(a{i}, far)
    [l{i}_act] e{i} = Tanh(c{i}) [l{i}_down] f{i} = MatMul(e{i}, wd{i}) [l{i}_join] h{j} = Add(r{i}, f{i})
"""
WIDTH = 8


def layered(layers, far=20.0):
    """(model, data): `far` is added and taken away in each layer, which costs precision."""
    names = [f"w{kind}{i}" for i in range(layers) for kind in "qkvoud"]
    nodes = "".join(_LAYER.format(i=i, j=i + 1) for i in range(layers))
    text = f"""<ir_version: 9, opset_import: ["": 18]>
layered (float[N, 6, {WIDTH}] x) => (float[N, 6, {WIDTH}] y)
<float scale = {{0.35}}, float far = {{{far}}}> {{
    [enter] h0 = Identity(x) {nodes} [leave] y = Sin(h{layers}) }}"""
    rng = np.random.default_rng(0)
    proto = onnx.parser.parse_model(text)
    values = {name: (rng.normal(size=(WIDTH, WIDTH)) / 3).astype("f4") for name in names}
    values |= {"g": np.ones(WIDTH, "f4"), "b": np.zeros(WIDTH, "f4")}
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in values.items())
    return proto, {"x": rng.normal(size=(8, 6, WIDTH)).astype("f4")}
