"""Edge cases 1 to 14: the graph's contract with its users."""

import numpy as np
import onnx
import pytest

X = np.array([[1.0, -2.0, 3.0], [0.5, 0.25, -4.0]], np.float32)
HEAD = '<ir_version: 8, opset_import: ["": 17]>\n'


@pytest.mark.parametrize("keep", [False, True])
def test_an_input_that_is_directly_an_output_is_kept(convert, keep):
    """A graph input that is also an output stays both (edge case 1, AutoCast defect 9)."""
    found = convert(
        HEAD + "g (float[2,3] x) => (float[2,3] x, float[2,3] y) { y = Relu(x) }", {"x": X}, keep_io_types=keep
    )
    found.assert_close()
    assert found.type_of("x") == ("float" if keep else "float16")


@pytest.mark.parametrize("keep", [False, True])
def test_an_initializer_that_is_an_output_is_kept(convert, keep):
    """An initializer that is a graph output stays one (edge case 2, AutoCast defect 9)."""
    found = convert(
        HEAD + "g (float[3] x) => (float[3] y, float[3] w) <float[3] w = {1.5, 2.0, -3.0}> { y = Mul(x, w) }",
        {"x": X[0]},
        keep_io_types=keep,
    )
    found.assert_close()
    assert found.type_of("w") == ("float" if keep else "float16")
    assert not found.nodes("Cast") or keep


def test_a_cast_from_an_input_straight_to_an_output_stays_connected(convert):
    """The Cast changes its target type and still connects input and output (edge case 3)."""
    found = convert(
        HEAD + "g (int32[3] i) => (float[3] y) { y = Cast<to = 1>(i) }", {"i": np.array([1, 2, 3], np.int32)}
    )
    found.assert_close()
    assert found.type_of("y") == "float16"
    assert len(found.nodes("Cast")) == 1


@pytest.mark.parametrize("keep", [False, True])
def test_a_cast_that_makes_an_output_also_feeds_nodes(convert, keep):
    """The Cast's result is an output and the input of a node (edge case 4)."""
    found = convert(
        HEAD + "g (int32[3] i) => (float[3] y, float[3] z) { y = Cast<to = 1>(i) z = Sqrt(y) }",
        {"i": np.array([1, 4, 9], np.int32)},
        keep_io_types=keep,
    )
    found.assert_close()
    assert found.decision("Sqrt_1") == ("fp16", "default")


@pytest.mark.parametrize("keep", [False, True])
def test_a_chain_of_casts_ends_at_an_output(convert, keep):
    """Casts that cancel out are removed without losing the output's name (edge case 5)."""
    found = convert(
        HEAD + "g (float[2,3] x) => (float[2,3] y) { a = Relu(x) b = Cast<to = 10>(a) y = Cast<to = 1>(b) }",
        {"x": X},
        keep_io_types=keep,
    )
    found.assert_close()
    assert len(found.nodes("Cast")) == (2 if keep else 0)


@pytest.mark.parametrize("keep", [False, True])
def test_a_same_type_cast_at_an_output_is_harmless(convert, keep):
    """A Cast from FP32 to FP32 neither breaks the output nor fixes its type (edge case 6)."""
    found = convert(
        HEAD + "g (float[2,3] x) => (float[2,3] y) { a = Relu(x) y = Cast<to = 1>(a) }", {"x": X}, keep_io_types=keep
    )
    found.assert_close()
    assert found.type_of("y") == ("float" if keep else "float16")


@pytest.mark.parametrize("keep", [False, True, ("y",)])
def test_two_outputs_come_from_one_tensor(convert, keep):
    """Each of two outputs of one value has the requested type (edge case 7)."""
    model = onnx.parser.parse_model(
        HEAD + "g (float[2,3] x) => (float[2,3] y, float[2,3] z) { y = Relu(x) z = Identity(y) }"
    )
    found = convert(model, {"x": X}, keep_io_types=keep)
    found.assert_close()
    assert found.type_of("y") == ("float16" if keep is False else "float")
    assert found.type_of("z") == ("float" if keep is True else "float16")


def test_one_name_listed_as_two_outputs_stays_two_outputs(convert):
    """The same value listed twice as an output is still listed twice (edge case 7)."""
    model = onnx.parser.parse_model(HEAD + "g (float[2,3] x) => (float[2,3] y) { y = Relu(x) }")
    model.graph.output.append(model.graph.output[0])
    found = convert(model, {"x": X})
    assert [value.name for value in found.after.graph.output] == ["y", "y"]
    found.assert_close()


@pytest.mark.parametrize("keep", [False, True])
def test_an_output_is_also_consumed_inside_an_if_body(convert, keep):
    """A graph output is also read inside a branch (edge case 8)."""
    found = convert(
        HEAD + """g (float[2,3] x, bool c) => (float[2,3] y, float[2,3] z) {
          y = Relu(x)
          z = If(c) <then_branch = t () => (float[2,3] a) { a = Add(y, y) },
                     else_branch = e () => (float[2,3] b) { b = Neg(y) }>
        }""",
        {"x": X, "c": np.array(True)},
        keep_io_types=keep,
    )  # fmt: skip
    found.assert_close()
    found.assert_close({"x": X, "c": np.array(False)})
    assert found.decision("graph/If_1:then_branch/Add_1") == ("fp16", "default")


@pytest.mark.parametrize("keep", [False, True, ("a",), ("b",)])
def test_one_output_of_a_multi_output_node_is_cast(convert, keep):
    """Outputs of one node can have different types at the graph's boundary (edge case 9)."""
    found = convert(
        HEAD + "g (float[4] x) => (float[2] a, float[2] y) { a, b = Split<axis = 0>(x) y = Exp(b) }",
        {"x": np.array([1, 2, -1, 0.5], np.float32)},
        keep_io_types=keep,
    )
    found.assert_close()
    assert found.type_of("a") == ("float" if keep in (True, ("a",)) else "float16")


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
@pytest.mark.parametrize("keep", [False, True])
def test_names_and_order_of_inputs_and_outputs_do_not_change(convert, keep, precision):
    """Inputs and outputs keep their names and their order (edge case 10)."""
    found = convert(
        HEAD + """g (float[3] zeta, int64[1] i, float[3] alpha) => (float[3] last, int64[1] k, float[3] first) {
          first = Add(zeta, alpha) last = Sub(zeta, alpha) k = Identity(i)
        }""",
        {"zeta": X[0], "i": np.array([3]), "alpha": X[1]},
        precision,
        keep_io_types=keep,
    )  # fmt: skip
    assert [value.name for value in found.after.graph.input] == ["zeta", "i", "alpha"]
    assert [value.name for value in found.after.graph.output] == ["last", "k", "first"]
    found.assert_close(tolerance=2e-3 if precision == "fp16" else 1e-2)


def test_io_types_are_kept_for_all_for_none_or_for_a_named_list(convert):
    """keep_io_types is true, false or a list of names (edge case 11)."""
    text = HEAD + "g (float[3] a, float[3] b) => (float[3] y, float[3] z) { y = Add(a, b) z = Mul(a, b) }"
    feeds = {"a": X[0], "b": X[1]}
    kinds = {
        keep: [convert(text, feeds, keep_io_types=keep).type_of(n) for n in "abyz"]
        for keep in (True, False, ("b", "y"))
    }
    assert kinds[True] == ["float"] * 4
    assert kinds[False] == ["float16"] * 4
    assert kinds["b", "y"] == ["float16", "float", "float", "float16"]


def test_a_name_to_keep_that_is_no_input_or_output_is_warned_of(convert):
    """A name in keep_io_types that the graph does not have gives a warning (edge case 11)."""
    found = convert(HEAD + "g (float[2,3] x) => (float[2,3] y) { y = Relu(x) }", {"x": X}, keep_io_types=("yy",))
    assert any("'yy'" in warning for warning in found.conversion.warnings)


@pytest.mark.parametrize("ir_version", [3, 8])
@pytest.mark.parametrize("keep", [False, True])
def test_an_initializer_listed_as_an_input_stays_an_overridable_default(convert, ir_version, keep):
    """Callers can still feed another value for it (edge case 12)."""
    model = onnx.parser.parse_model(
        HEAD + "g (float[2,3] x, float[3] w) => (float[2,3] y) <float[3] w = {1.0, 2.0, 3.0}> { y = Mul(x, w) }"
    )
    model.ir_version = ir_version
    if ir_version == 3:
        model.opset_import[0].version = 8
    if not any(value.name == "w" for value in model.graph.input):
        model.graph.input.append(onnx.helper.make_tensor_value_info("w", 1, [3]))
    found = convert(model, {"x": X, "w": np.array([1, 2, 3], np.float32)}, keep_io_types=keep)
    assert [tensor.name for tensor in found.after.graph.initializer] == ["w"]
    found.assert_close({"x": X, "w": np.array([5, 6, 7], np.float32)})
    assert found.initializer("w").dtype == (np.float32 if keep else np.float16)


def test_unused_inputs_dead_nodes_and_dead_outputs_are_not_removed(convert):
    """What nothing reads stays in the graph (edge case 13)."""
    found = convert(
        HEAD
        + "g (float[4] x, float[3] unused) => (float[2] y) { a, dead = Split<axis = 0>(x) y = Exp(a) d = Neg(dead) }",
        {"x": np.array([1, 2, -1, 0.5], np.float32), "unused": X[0]},
    )
    found.assert_close()
    assert [node.op_type for node in found.after.graph.node] == ["Split", "Exp", "Neg"]
    assert found.type_of("unused") == "float16"


@pytest.mark.parametrize("keep", [False, True])
def test_a_graph_without_nodes_is_converted(convert, keep):
    """Only the declared types of inputs and outputs change (edge case 14)."""
    model = onnx.parser.parse_model(HEAD + "g (float[2,3] x) => (float[2,3] x) { }")
    found = convert(model, {"x": X}, keep_io_types=keep)
    found.assert_close()
    assert found.type_of("x") == ("float" if keep else "float16")
