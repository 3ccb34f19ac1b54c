"""Bodies of If, Loop and Scan: their nodes, what they capture, and what crosses their border."""

import numpy as np
import onnx
import pytest

from tests.compatibility.converted import NAMES
from tests.onnx_models import run_in_onnxruntime

HEAD = '<ir_version: 8, opset_import: ["": 17]> '
BRANCHES = (
    HEAD
    + """g (bool c, float[2] x) => (float[2] y) {
  [outer] a = Neg(x)
  [choice] y = If (c) <
    then_branch = t () => (float[2] p) { [then_node] p = Exp(a) },
    else_branch = e () => (float[2] q) { [else_node] q = Abs(a) }>
}"""
)
LOOP = (
    HEAD
    + """g (int64 n, float[2] x) => (float[2] y) <bool go = {1}> {
  [loop] y = Loop (n, go, x) <body = b (int64 i, bool k, float[2] s) => (bool k2, float[2] s2)
    { k2 = Identity(k) [step] s2 = Add(s, x) }>
}"""
)
SCAN = (
    HEAD
    + """g (float[2] h, float[4,2] xs) => (float[2] l, float[4,2] ys) {
  [scan] l, ys = Scan (h, xs) <num_scan_inputs = 1, body = b (float[2] a, float[2] v) => (float[2] o, float[2] r)
    { [sum] o = Add(a, v) [neg] r = Neg(o) }>
}"""
)
V = np.array([0.5, -1.25], np.float32)


def bodies(model):
    """The types of body inputs and outputs, by name."""
    found = {}
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                for info in (*attribute.g.input, *attribute.g.output):
                    found[info.name] = NAMES[info.type.tensor_type.elem_type]
    return found


@pytest.mark.parametrize(("text", "feeds"), [(BRANCHES, {"c": True}), (BRANCHES, {"c": False})])
@pytest.mark.parametrize("excluded", [[], ["outer"], ["then_node"], ["else_node"], ["choice"], [".*"]])
def test_branches_compute_the_same_whatever_is_excluded(convert, text, feeds, excluded):
    found = convert(text, nodes_to_exclude=excluded).model
    expected = np.exp(-V) if feeds["c"] else np.abs(V)
    actual = run_in_onnxruntime(found, {"c": np.array(feeds["c"]), "x": V.astype(np.float16)})[0]
    np.testing.assert_allclose(actual, expected, rtol=2e-3)


@pytest.mark.parametrize(
    ("excluded", "outputs"),
    [([], {"p", "q"}), (["then_node"], {"p_cast_fp16", "q"}), (["else_node"], {"p", "q_cast_fp16"})],
)
def test_both_branches_give_one_type(convert, excluded, outputs):
    assert bodies(convert(BRANCHES, nodes_to_exclude=excluded).model) == dict.fromkeys(outputs, "fp16")


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("excluded", [[], ["step"], ["loop"]])
def test_a_float_that_a_loop_carries_has_one_type_all_the_way(convert, excluded, keep):
    """AutoCast's result is invalid, or it ends with an error, where a loop carries floats."""
    found = convert(LOOP, nodes_to_exclude=excluded, keep_io_types=keep)
    (body,) = [a.g for node in found.model.graph.node for a in node.attribute if a.HasField("g")]
    reads, makes = ([NAMES[each.type.tensor_type.elem_type] for each in side] for side in (body.input, body.output))
    assert reads[:2] == ["int64", "bool"] and makes[0] == "bool"
    assert reads[2] == makes[1] == ("fp32" if "loop" in excluded else reads[2])
    kind = np.float32 if keep else np.float16
    actual = run_in_onnxruntime(found.model, {"n": np.array(3), "x": V.astype(kind)})[0]
    np.testing.assert_allclose(actual, 4 * V, rtol=1e-3)


@pytest.mark.parametrize("excluded", [[], ["sum"], ["neg"]])
def test_a_scan_computes_the_same(convert, excluded):
    found = convert(SCAN, nodes_to_exclude=excluded).model
    xs = np.arange(8, dtype=np.float16).reshape(4, 2)
    last, rows = run_in_onnxruntime(found, {"h": V.astype(np.float16), "xs": xs})
    np.testing.assert_allclose(rows, -(V + np.cumsum(xs, axis=0, dtype=np.float32)), rtol=2e-3)
    np.testing.assert_allclose(last, -rows[-1])


def test_an_excluded_operator_type_is_kept_in_bodies_too(convert):
    found = convert(BRANCHES, op_types_to_exclude=["Exp"]).model
    (branch,) = [a.g for node in found.graph.node for a in node.attribute if a.name == "then_branch"]
    (kept,) = [node for node in branch.node if node.op_type == "Exp"]
    (cast,) = [node for node in (*branch.node, *found.graph.node) if kept.input[0] in node.output]
    assert (cast.op_type, cast.attribute[0].i) == ("Cast", onnx.TensorProto.FLOAT)


def test_a_body_may_capture_what_is_made_outside_in_another_type(convert):
    """AutoCast ends with an error where a branch captures a float."""
    found = convert(BRANCHES, nodes_to_exclude=["outer"]).model
    onnx.checker.check_model(found, full_check=True)
    actual = run_in_onnxruntime(found, {"c": np.array(True), "x": V.astype(np.float16)})[0]
    np.testing.assert_allclose(actual, np.exp(-V), rtol=2e-3)
