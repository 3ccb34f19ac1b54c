"""Parts of a model that run alone."""

import numpy as np
import onnx_ir as ir

from autocast_core.backends.onnxruntime import OnnxRuntime
from autocast_core.diagnose.part_views import part_of, read_from_inputs
from autocast_core.model import load_proto
from tests.autocast_core.diagnose.diagnosed import model

_CHAIN = model("a = Add(x, w)\nb = Mul(a, a)\ny = Sub(b, a)", "(float[2] x) => (float[2] y)", "float[2] w = {1, 2}")


def _values(loaded: ir.Model) -> dict[str, ir.Value]:
    return {str(value.name): value for node in loaded.graph for value in node.outputs}


def test_a_part_has_only_what_its_outputs_need() -> None:
    loaded = load_proto(_CHAIN)
    part = part_of(loaded, [_values(loaded)["b"]])
    assert [node.op_type for node in part.graph] == ["Add", "Mul"]
    found = OnnxRuntime(threads=1).open(part, exact=True).run({"x": np.array([2.0, 3.0], np.float32)})
    np.testing.assert_array_equal(found[0], [9.0, 25.0])


def test_what_is_given_is_not_computed_and_the_model_is_as_before() -> None:
    loaded = load_proto(_CHAIN)
    values = _values(loaded)
    with read_from_inputs(loaded, ["b"]) as ports:
        part = part_of(loaded, [values["y"], values["b"]], [ports["b"]])
        feeds = {"x": np.array([2.0, 3.0], np.float32), str(ports["b"].name): np.array([10.0, 10.0], np.float32)}
        found = OnnxRuntime(threads=1).open(part, exact=True).run(feeds)
    np.testing.assert_array_equal(found[0], [7.0, 5.0])
    np.testing.assert_array_equal(found[1], [9.0, 25.0])
    assert values["y"].producer().inputs[0] is values["b"]  # type: ignore[union-attr]
    assert [value.name for value in loaded.graph.inputs] == ["x"]


def test_a_part_has_what_the_bodies_of_its_nodes_read() -> None:
    loaded = load_proto(
        model(
            "a = Neg(x)\nb = Abs(x)\n"
            "y = If <then_branch = t () => (float[2] p) { p = Relu(a) }, else_branch = e () => (float[2] q)"
            " { q = Identity(x) }> (c)",
            "(float[2] x, bool c) => (float[2] y)",
        )
    )
    part = part_of(loaded, [_values(loaded)["y"]])
    assert [node.op_type for node in part.graph] == ["Neg", "If"]
    found = (
        OnnxRuntime(threads=1).open(part, exact=True).run({"x": np.array([-1.0, 1.0], np.float32), "c": np.array(True)})
    )
    np.testing.assert_array_equal(found[0], [1.0, 0.0])
