"""Model files made to crash, fill or busy whoever reads them; each writes NAME.onnx into a folder."""

import os
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
from onnx import TensorProto, helper, numpy_helper

HEAD = '<ir_version: 9, opset_import: ["": 17]>'


def parsed(folder: Path, body: str) -> Path:
    path = folder / "m.onnx"
    path.write_bytes(onnx.parser.parse_model(f"{HEAD} {body}").SerializeToString())
    return path


def stored(folder: Path, model: onnx.ModelProto) -> Path:
    path = folder / "m.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def add(*, location: str = "", dims=(2,), raw: bytes | None = None, **external: str) -> onnx.ModelProto:
    model = onnx.parser.parse_model(f"{HEAD} g (float[2] x) => (float[2] y) {{ y = Add(x, w) }}")
    tensor = model.graph.initializer.add(name="w", data_type=TensorProto.FLOAT, dims=dims)
    if raw is not None:
        tensor.raw_data = raw
    else:
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in {"location": location, **external}.items():
            tensor.external_data.add(key=key, value=value)
    return model


def _external(location):
    def write(folder):
        home = folder / "home"
        home.mkdir()
        (folder / "secret").write_bytes(bytes(64))
        (home / "escape").symlink_to("../secret")
        (home / "zero").symlink_to("/dev/zero")
        (home / "environ").symlink_to("/proc/self/environ")
        os.mkfifo(home / "pipe")
        return stored(home, add(location=location))

    return write


def huge_offset(folder):
    (folder / "w").write_bytes(bytes(64))
    return stored(folder, add(location="w", offset=str(2**63 - 4), length="8"))


def huge_shape(folder):
    return stored(folder, add(dims=(1 << 40, 1 << 40), raw=b"12345678"))


def negative_shape(folder):
    return stored(folder, add(dims=(-2, -1), raw=b"12345678"))


def endless_cycle(folder):
    return parsed(folder, "g (float[2] x) => (float[2] y) { a = Add(x, b) b = Relu(a) y = Relu(b) }")


def own_input(folder):
    return parsed(folder, "g (float[2] x) => (float[2] y) { y = Add(x, y) }")


def million_nodes(folder):
    first = helper.make_node("Relu", ["x"], ["v0"]).SerializeToString()
    nodes = [first] + [helper.make_node("Relu", [f"v{i}"], [f"v{i + 1}"]).SerializeToString() for i in range(10**6)]
    info = helper.make_tensor_value_info
    graph = helper.make_graph([], "g", [info("x", 1, [2])], [info(f"v{10**6}", 1, [2])]).SerializeToString()
    graph += b"".join(b"\x0a" + _varint(len(node)) + node for node in nodes)
    model = onnx.parser.parse_model(f"{HEAD} g (float[2] x) => (float[2] y) {{ y = Relu(x) }}")
    model.ClearField("graph")
    path = folder / "m.onnx"
    path.write_bytes(model.SerializeToString() + b"\x3a" + _varint(len(graph)) + graph)
    return path


def empty_nodes(folder):
    """Two bytes of file for each node object: forty times as much memory."""
    return _with_graph(folder, b"\x0a\x00" * (24 << 20))


def many_dimensions(folder):
    return stored(folder, add(dims=[1] * 4_000_000 + [2], raw=b"12345678"))


def deep_bodies(folder):
    """If in If in If: each doubles the file, protobuf allows 100 messages, three to a body."""
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["r"])], "b", [], [_out("r")])
    for depth in range(30):
        node = helper.make_node("If", ["c"], [f"r{depth}"], then_branch=graph, else_branch=graph)
        graph = helper.make_graph([node], f"b{depth}", [], [_out(f"r{depth}")])
        if graph.ByteSize() > 8 << 20:
            break
    graph.input.extend([helper.make_tensor_value_info("x", 1, [2]), helper.make_tensor_value_info("c", 9, [])])
    return stored(folder, helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9))


def doubling_functions(folder):
    """Each function calls the one before it twice: 2**40 nodes when they are inlined."""
    functions = [
        helper.make_function("f", "f0", ["x"], ["y"], [helper.make_node("Relu", ["x"], ["y"])], [_opset(), _own()])
    ]
    for level in range(1, 41):
        calls = [
            helper.make_node(f"f{level - 1}", ["x"], ["t"], domain="f"),
            helper.make_node(f"f{level - 1}", ["t"], ["y"], domain="f"),
        ]
        functions.append(helper.make_function("f", f"f{level}", ["x"], ["y"], calls, [_opset(), _own()]))
    info = helper.make_tensor_value_info
    node = helper.make_node("f40", ["x"], ["y"], domain="f")
    graph = helper.make_graph([node], "g", [info("x", 1, [2])], [info("y", 1, [2])])
    return stored(folder, helper.make_model(graph, functions=functions, opset_imports=[_opset(), _own()], ir_version=9))


def endless_loop(folder):
    body = "body (int64 i, bool c, float[2] s) => (bool c2, float[2] s2) { c2 = Identity(c) s2 = Add(s, s) }"
    return parsed(
        folder,
        "g (float[2] x) => (float[2] y) { n = Constant<value = int64 {4611686018427387904}>() t = "
        f"Constant<value = bool {{1}}>() y = Loop<body = {body}>(n, t, x) }}",
    )


def huge_result(folder):
    """Four bytes of input, a terabyte of output."""
    return parsed(
        folder,
        "g (float[1] x) => (float[n] y) { s = Constant<value = int64[1] {274877906944}>() e = Expand(x, s) "
        "y = Relu(e) }",
    )


def huge_constant(folder):
    """Folded, a constant of a terabyte."""
    return parsed(
        folder,
        "g (float[1] x) => (float[n] y) { s = Constant<value = int64[1] {274877906944}>() c = "
        "ConstantOfShape<value = float[1] {1.0}>(s) y = Add(x, c) }",
    )


def sparse_terabyte(folder):
    model = add(raw=b"12345678")
    sparse = model.graph.sparse_initializer.add(dims=[1 << 38])
    sparse.values.CopyFrom(numpy_helper.from_array(np.ones(1, np.float32), "s"))
    sparse.indices.CopyFrom(numpy_helper.from_array(np.zeros(1, np.int64), "i"))
    return stored(folder, model)


def not_utf8(folder):
    path = parsed(folder, "g (float[2] x) => (float[2] y) { y = Relu(x) }")
    path.write_bytes(path.read_bytes().replace(b"Relu", b"Re\xff\xfe"))
    return path


def _out(name):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [2])


def _opset():
    return helper.make_opsetid("", 17)


def _own():
    return helper.make_opsetid("f", 1)


def _with_graph(folder, nodes):
    model = onnx.parser.parse_model(f"{HEAD} g (float[2] x) => (float[2] y) {{ y = Relu(x) }}")
    graph = model.graph.SerializeToString() + nodes
    model.ClearField("graph")
    path = folder / "m.onnx"
    path.write_bytes(model.SerializeToString() + b"\x3a" + _varint(len(graph)) + graph)
    return path


def _varint(number):
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


EXTERNAL = {
    location: _external(location)
    for location in ("/etc/passwd", "../secret", "escape", "zero", "environ", "pipe", "", "a/../../secret")
}
OTHERS = (
    huge_offset,
    huge_shape,
    negative_shape,
    endless_cycle,
    own_input,
    huge_result,
    sparse_terabyte,
    not_utf8,
)
RUNAWAYS = (endless_loop, doubling_functions, million_nodes, empty_nodes, many_dimensions, deep_bodies, huge_constant)
"""Those that only a limit ends; the first two are tried in every run, all of them at night."""
