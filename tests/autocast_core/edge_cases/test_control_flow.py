"""Edge cases 23 to 33: bodies and model-local functions are graphs like any other."""

import numpy as np
import onnx
import pytest

X = np.array([[1.0, -2.0, 3.0], [0.5, 0.25, -4.0]], np.float32)
HEAD = '<ir_version: 8, opset_import: ["": 17]>\n'
BOTH = pytest.mark.parametrize("keep", [False, True])


@BOTH
def test_an_if_branch_captures_an_outer_activation(convert, keep):
    """Both branches read a value of the outer graph and are converted with it (edge case 23)."""
    found = convert(
        HEAD + """g (float[2,3] x, bool c) => (float[2,3] z) <float[3] w = {1.5, 2.0, 0.5}> {
          y = Mul(x, w)
          z = If(c) <then_branch = t () => (float[2,3] a) { a = Add(y, w) },
                     else_branch = e () => (float[2,3] b) <float[3] k = {3.0, 4.0, 5.0}> { b = Sub(y, k) }>
        }""",
        {"x": X, "c": np.array(True)},
        keep_io_types=keep,
    )  # fmt: skip
    for flag in (True, False):
        found.assert_close({"x": X, "c": np.array(flag)})
    assert found.conversion.plan.counts().share == 1.0
    assert found.initializer("w").dtype == found.initializer("k").dtype == np.float16
    assert len(found.nodes("Cast")) == (2 if keep else 0)


NESTED = (
    HEAD
    + """g (float[2,3] x, bool c, bool d) => (float[2,3] z) {
  y = Relu(x)
  z = If(c) <
    then_branch = t () => (float[2,3] a) {
      p = Exp(y)
      a = If(d) <then_branch = tt () => (float[2,3] q) { q = Add(p, y) },
                 else_branch = te () => (float[2,3] r) { r = Softmax(p) }>
    },
    else_branch = e () => (float[2,3] b) { b = Neg(y) }>
}"""
)


@pytest.mark.parametrize("excluded", [(), ("Exp",), ("Softmax",), ("Relu",)])
@BOTH
def test_nested_ifs_capture_through_two_levels(convert, keep, excluded):
    """An If inside a branch reads values from two levels further out (edge case 24)."""
    found = convert(
        NESTED, {"x": X, "c": np.array(True), "d": np.array(True)}, keep_io_types=keep, op_types_to_exclude=excluded
    )
    for c, d in ((True, True), (True, False), (False, True)):
        found.assert_close({"x": X, "c": np.array(c), "d": np.array(d)})
    fp32 = {decision.op_type for decision in found.conversion.plan.nodes if decision.precision == "fp32"}
    assert fp32 == set(excluded)


@pytest.mark.parametrize("excluded", [(), ("Loop",), ("Mul",)])
@BOTH
def test_a_loop_carries_float_state(convert, keep, excluded):
    """The carried state has one type inside and outside of the body (edge case 25)."""
    found = convert(
        HEAD + """g (float[2,3] x, int64 n) => (float[2,3] y, float[k,2,3] s) <float[3] w = {0.5, 1.5, 2.0}> {
          y, s = Loop(n, , x) <body = b (int64 i, bool ci, float[2,3] v) => (bool co, float[2,3] vo, float[2,3] so) {
            co = Identity(ci) vo = Mul(v, w) so = Add(vo, x)
          }>
        }""",
        {"x": X, "n": np.array(3)},
        keep_io_types=keep,
        op_types_to_exclude=excluded,
    )  # fmt: skip
    found.assert_close(tolerance=5e-3)
    low = {decision.op_type for decision in found.conversion.plan.nodes if decision.precision == "fp16"}
    assert low == {"Loop", "Mul", "Add"} - set(excluded)
    assert found.type_of("v") == ("float" if "Loop" in excluded else "float16")


@pytest.mark.parametrize("inputs", ["n, , x", ", c, x", "n, c, x"])
def test_a_loop_may_leave_out_optional_inputs(convert, inputs):
    """Omitted trip counts and conditions stay omitted (edge case 26)."""
    found = convert(
        HEAD + f"""g (float[2] x, int64 n, bool c) => (float[2] y) <int64 last = {{2}}, float[1] h = {{0.5}}> {{
          y = Loop({inputs}) <body = b (int64 i, bool ci, float[2] v) => (bool co, float[2] vo) {{
            co = Less(i, last) vo = Mul(v, h)
          }}>
        }}""",
        {"x": X[0, :2], "n": np.array(2), "c": np.array(True)},
    )  # fmt: skip
    found.assert_close()
    assert list(found.nodes("Loop")[0].input) == [name.strip() for name in inputs.split(",")]


@pytest.mark.parametrize("excluded", [(), ("Scan",), ("Add",), ("Mul",)])
@BOTH
def test_a_scan_has_state_and_scan_inputs_and_outputs(convert, keep, excluded):
    """State variables and scanned slices follow the Scan's precision (edge case 27)."""
    found = convert(
        HEAD + """g (float[3] init, float[2,3] xs) => (float[3] last, float[2,3] ys) {
          last, ys = Scan(init, xs) <num_scan_inputs = 1, body = b (float[3] s, float[3] x) => (float[3]
            so, float[3] y) {
            so = Add(s, x) y = Mul(so, x)
          }>
        }""",
        {"init": np.array([0.5, 1, 2], np.float32), "xs": X},
        keep_io_types=keep,
        op_types_to_exclude=excluded,
    )  # fmt: skip
    found.assert_close()
    assert found.type_of("s") == ("float" if "Scan" in excluded else "float16")


def test_a_body_initializer_shadows_an_outer_name(convert):
    """Each branch reads its own initializer where both have the same name (edge case 28)."""
    model = onnx.parser.parse_model(
        HEAD + """g (float[2] x, bool c) => (float[2] y) <float[2] w = {2.0, 3.0}> {
          a = Mul(x, w)
          b = If(c) <then_branch = t () => (float[2] p) <float[2] k = {5.0, 7.0}> { p = Mul(a, k) },
                     else_branch = e () => (float[2] q) <float[2] k = {11.0, 13.0}> { q = Mul(a, k) }>
          y = Add(b, w)
        }"""
    )  # fmt: skip
    found = convert(model, {"x": X[0, :2], "c": np.array(True)})
    for flag in (True, False):
        found.assert_close({"x": X[0, :2], "c": np.array(flag)})


@BOTH
def test_a_body_shares_an_initializer_with_the_outer_graph(convert, keep):
    """A shared weight is stored once if both readers are low, twice if one stays FP32 (edge case 28)."""
    text = (
        HEAD
        + """g (float[2] x, bool c) => (float[2] y) <float[2] w = {2.0, 3.0}> {
      a = Mul(x, w)
      y = If(c) <then_branch = t () => (float[2] p) { p = Add(a, w) }, else_branch = e () => (float[2]
            q) { q = Sub(a, w) }>
    }"""
    )
    feeds = {"x": X[0, :2], "c": np.array(True)}
    once = convert(text, feeds, keep_io_types=keep)
    assert [tensor.data_type for tensor in once.after.graph.initializer] == [onnx.TensorProto.FLOAT16]
    twice = convert(text, feeds, keep_io_types=keep, op_types_to_exclude=("Sub",))
    assert sorted(tensor.data_type for tensor in twice.after.graph.initializer) == [1, 10]
    twice.assert_close({**feeds, "c": np.array(False)})


@pytest.mark.parametrize("excluded", [(), ("Exp",), ("SequenceMap",)])
def test_a_sequence_map_body_is_converted(convert, excluded):
    """Nodes in the body of a SequenceMap have decisions of their own (edge case 29)."""
    found = convert(
        HEAD + """g (float[3] a, float[3] b) => (float[3] y) <int64 zero = {0}> {
          s = SequenceConstruct(a, b)
          t = SequenceMap(s) <body = f (float[3] x) => (float[3] z) { z = Exp(x) }>
          y = SequenceAt(t, zero)
        }""",
        {"a": X[0], "b": X[1]},
        op_types_to_exclude=excluded,
    )  # fmt: skip
    found.assert_close()
    assert found.decision("graph/SequenceMap_1:body/Exp_1")[0] == ("fp32" if "Exp" in excluded else "fp16")


@pytest.mark.parametrize("excluded", [(), ("Exp",), ("If",)])
def test_branches_of_an_if_agree_on_the_type(convert, excluded):
    """The branches give one type, whichever node is excluded; strict type inference checks it (edge case 30)."""
    found = convert(
        HEAD + """g (float[2,3] x, bool c) => (float[2,3] z) {
          z = If(c) <then_branch = t () => (float[2,3] a) { a = Exp(x) }, else_branch = e () =>
            (float[2,3] b) { b = Neg(x) }>
        }""",
        {"x": X, "c": np.array(True)},
        op_types_to_exclude=excluded,
    )  # fmt: skip
    for flag in (True, False):
        found.assert_close({"x": X, "c": np.array(flag)})
    branches = [attribute.g for attribute in found.nodes("If")[0].attribute]
    assert len({branch.output[0].type.tensor_type.elem_type for branch in branches}) == 1


@BOTH
def test_a_branch_may_give_out_a_captured_value_or_an_initializer(convert, keep):
    """A branch without computation of its own still gets the right type (edge cases 23 and 30)."""
    found = convert(
        HEAD + """g (float[2] x, bool c) => (float[2] z) <float[2] w = {2.0, 3.0}> {
          y = Relu(x)
          z = If(c) <then_branch = t () => (float[2] a) { a = Identity(y) },
                     else_branch = e () => (float[2] k) <float[2] k = {1.0, 0.5}> { }>
        }""",
        {"x": X[0, :2], "c": np.array(True)},
        keep_io_types=keep,
        op_types_to_exclude=("Relu",),
    )  # fmt: skip
    for flag in (True, False):
        found.assert_close({"x": X[0, :2], "c": np.array(flag)})


FUNCTION = """<ir_version: 8, opset_import: ["": 17, "local": 1]>
g (float[2,3] x) => (float[2,3] y) {
  [low] a = local.gelu(x)
  [high] b = local.gelu(a)
  y = Add(a, b)
}
<domain: "local", opset_import: ["": VERSION]>
gelu (v) => (r) { k = Constant<value_float = 1.702>() s = Mul(v, k) [gate] t = Sigmoid(s) r = Mul(v, t) }
"""


def test_a_model_local_function_is_converted_at_each_call(convert):
    """Functions are inlined, so their nodes are converted (edge case 31, AutoCast defect 11)."""
    found = convert(FUNCTION.replace("VERSION", "17"), {"x": X})
    assert not found.after.functions
    assert found.conversion.plan.counts().share == 1.0
    found.assert_close()


def test_a_function_is_used_at_two_precisions(convert):
    """One call is low and the other FP32 (edge case 32)."""
    found = convert(FUNCTION.replace("VERSION", "17"), {"x": X}, nodes_to_exclude=("high",))
    assert found.decision("graph/low/gate") == ("fp16", "default")
    assert found.decision("graph/high/gate") == ("fp32", "node_name")
    found.assert_close()


def test_a_function_has_another_opset_than_the_model(convert):
    """A function's nodes are upgraded from the function's own opset (edge case 33)."""
    found = convert(FUNCTION.replace("VERSION", "14"), {"x": X})
    assert {each.domain: each.version for each in found.after.opset_import}[""] == 17
    found.assert_close()
