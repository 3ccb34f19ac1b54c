"""Work grows as the model does: calls of functions are counted, Python's and C's, so that no clock decides.

`python -m tests.benchmarks` measures times.
"""

import sys

import onnx
from onnx import TensorProto, helper

from autocast_core import convert_file
from autocast_core.errors import ModelError

OPSETS = [helper.make_opsetid("", 17), helper.make_opsetid("f", 1)]


def work(action):
    """How many calls `action` makes in this thread."""
    calls = [0]

    def count(frame, event, argument):
        calls[0] += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        action()
    finally:
        sys.setprofile(None)
    return calls[0]


def model(nodes, functions=()):
    inputs = [helper.make_tensor_value_info("x", 1, [4]), helper.make_tensor_value_info("c", TensorProto.BOOL, [])]
    graph = helper.make_graph(nodes, "g", inputs, [helper.make_tensor_value_info("y", 1, [4])])
    return helper.make_model(graph, opset_imports=OPSETS, ir_version=8, functions=functions)


def branch(operator, name):
    value = helper.make_tensor_value_info(name, 1, [4])
    return helper.make_graph([helper.make_node(operator, ["x"], [name])], name, [], [value])


def side_by_side(count):
    """So many Ifs, and their sum."""
    nodes = [
        helper.make_node(
            "If", ["c"], [f"y{n}"], then_branch=branch("Relu", f"t{n}"), else_branch=branch("Neg", f"e{n}")
        )
        for n in range(count)
    ]
    return model([*nodes, helper.make_node("Sum", [f"y{n}" for n in range(count)], ["y"])])


def chain(count):
    """A function that calls the next one, and so on."""
    last = helper.make_function("f", f"F{count}", ["x"], ["y"], [helper.make_node("Relu", ["x"], ["y"])], OPSETS)
    calls = [helper.make_node(f"F{n + 1}", ["x"], ["y"], domain="f") for n in range(count)]
    functions = [helper.make_function("f", f"F{n}", ["x"], ["y"], [call], OPSETS) for n, call in enumerate(calls)]
    return model([helper.make_node("F0", ["x"], ["y"], domain="f")], [*functions, last])


def converting(tmp_path, proto, refused=False):
    def act():
        try:
            convert_file(tmp_path / "m.onnx", tmp_path / "out.onnx")
        except ModelError:
            assert refused

    onnx.save(proto, tmp_path / "m.onnx")
    return work(act)


def test_twice_as_many_bodies_are_twice_the_work(tmp_path):
    converting(tmp_path, side_by_side(2))  # what is made once: imports, schemas
    small, middle, large = (converting(tmp_path, side_by_side(count)) for count in (20, 40, 80))
    assert large - middle <= 2.2 * (middle - small)


def test_a_function_is_looked_at_once_in_a_chain(tmp_path):
    converting(tmp_path, chain(150), refused=True)
    small, middle, large = (converting(tmp_path, chain(count), refused=True) for count in (400, 800, 1600))
    assert large - middle <= 2.2 * (middle - small)
    assert large - middle <= 800 * 600, "more than 600 calls for a function"
