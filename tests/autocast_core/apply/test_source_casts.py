"""Casts that the source model has: kept where they round or make an output, else gone or put to use."""

from __future__ import annotations

import onnx

FP32, FP16, BF16 = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16
HEAD = '<ir_version: 10, opset_import: ["" : 22]>\n'


def casts(graph: onnx.GraphProto) -> list[tuple[str, int, str]]:
    """Input, type and output of every Cast of a graph, in order."""
    return [(node.input[0], node.attribute[0].i, node.output[0]) for node in graph.node if node.op_type == "Cast"]


def test_a_cast_that_only_copies_an_outer_value_into_a_branch_output_still_copies_it(applied):
    model = applied(
        HEAD
        + """g (float[2] x, bool c) => (float[2] y) {
            [if] y = If (c) <
                then_branch: graph = t () => (float[2] a) { [copy] a = Cast <to: int = 1> (x) },
                else_branch: graph = e () => (float[2] b) { [neg] b = Neg (x) }>
        }"""
    )
    branch = model.graph.node[0].attribute[0].g
    assert casts(branch) == [("x", FP16, "a")]


def test_a_same_type_cast_of_an_output_stays_a_second_output(applied):
    model = applied(
        HEAD + "g (float[2] x) => (float[2] y, float[2] z) { [neg] y = Neg (x)\n[copy] z = Cast <to = 1> (y) }"
    )
    assert [value.name for value in model.graph.output] == ["y", "z"]
    assert casts(model.graph) == [("y", FP16, "z")]


def test_a_widening_cast_behind_a_cast_that_became_needless_is_not_made_twice(applied):
    model = applied(
        HEAD
        + """g (float[2] x) => (float[2] y, float[2] z) {
            [neg] n = Neg (x)
            [down] d = Cast <to: int = 10> (n)
            [up] u = Cast <to: int = 1> (d)
            [kept_a] y = Abs (n)
            [kept_b] z = Abs (u)
        }""",
        keep=["kept_a", "kept_b"],
    )
    assert [(source, to) for source, to, _ in casts(model.graph)] == [("n", FP32)]


def test_a_repeated_cast_is_merged_with_one_that_makes_an_output(applied):
    model = applied(
        HEAD
        + """g (int64[2] n, float[2] x) => (float[2] y, float[2] z) {
            [first] y = Cast <to: int = 1> (n)
            [second] s = Cast <to: int = 1> (n)
            [add] z = Add (s, x)
        }"""
    )
    assert casts(model.graph) == [("n", FP16, "y")]


def test_a_chain_of_casts_to_readers_of_one_low_type_ends_in_that_type(applied):
    model = applied(
        HEAD
        + """g (int64[2] n, float[2] x) => (float[2] z) {
            [first] f = Cast <to: int = 1> (n)
            [add] z = Add (f, x)
        }"""
    )
    assert casts(model.graph) == [("n", FP16, "f")]


def test_a_rounding_pair_of_casts_in_the_source_keeps_rounding(applied):
    model = applied(
        HEAD
        + """g (float[2] x) => (float[2] y) {
            [round] r = Cast <to: int = 10> (x)
            [back] b = Cast <to: int = 1> (r)
            [kept] y = Neg (b)
        }""",
        keep=["kept"],
        keep_io_types=True,
    )
    assert [to for _, to, _ in casts(model.graph)] == [FP16, FP32]


def test_a_constant_that_the_source_rounds_to_another_type_is_stored_in_that_type_beside_the_copy(applied):
    model = applied(
        HEAD.replace("22]", '22, "custom" : 1]')
        + """g (float[2] x) => (float[2] y, bfloat16[2] z) <float[2] w = {1.00390625, 2.0}> {
            [add] y = Add (x, w)
            [round] r = Cast <to: int = 16> (w)
            [neg] z = custom.Neg (r)
        }"""
    )
    stored = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    assert stored == {"w": BF16, "w_fp16": FP16}
    assert casts(model.graph) == []


def test_a_weight_read_through_a_copying_cast_is_stored_in_the_readers_type(applied):
    model = applied(
        HEAD
        + """g (float[2] x, bool c) => (float[2] y) <float[2] w = {1.0, 2.0}> {
            [if] y = If (c) <
                then_branch: graph = t () => (float[2] a) { [copy] a = Cast <to: int = 1> (w) },
                else_branch: graph = e () => (float[2] b) { [neg] b = Neg (x) }>
        }"""
    )
    assert [tensor.data_type for tensor in model.graph.initializer] == [FP16]


def test_an_output_and_its_widening_copy_stay_two_outputs(applied):
    model = applied(
        HEAD + "g (float[2] x) => (float[2] copy, float[2] y) { [neg] y = Neg (x)\n[same] copy = Cast <to = 1> (y) }",
        keep_io_types=True,
    )
    assert [value.name for value in model.graph.output] == ["copy", "y"]
    assert {(source, output) for source, _, output in casts(model.graph)} >= {("y_fp16", "copy"), ("y_fp16", "y")}


def test_readers_of_a_copying_cast_that_makes_an_output_read_what_it_copies(applied):
    model = applied(
        HEAD
        + "g (float[2] x) => (float[2] copy, float[2] y) { [same] copy = Cast <to = 1> (x)\n[kept] y = Neg (copy) }",
        keep=["kept"],
    )
    types = {value.name: value.type.tensor_type.elem_type for value in (*model.graph.input, *model.graph.output)}
    assert types == {"x": FP32, "copy": FP16, "y": FP32}
    assert casts(model.graph) == [("x", FP16, "copy")]


def test_what_stands_in_for_an_output_takes_its_shape_too(applied):
    model = applied(
        HEAD
        + """g (float[2] x) => (float[2] y) {
            [trips] trips = Constant <value = int64 {2}> ()
            [body] s, t = Loop (trips, , x) <
                body: graph = b (int64 i, bool c, float[2] before) => (bool d, float[2] after, float[2] scan) {
                    [go] d = Identity (c)
                    [neg] after = Neg (before)
                    [abs] scan = Abs (before)
                }>
            [copy] y = Cast <to: int = 1> (s)
        }"""
    )
    assert [dim.dim_value for dim in model.graph.output[0].type.tensor_type.shape.dim] == [2]
    assert casts(model.graph) == []


def test_nodes_read_what_a_copying_cast_of_a_body_output_copies(applied):
    model = applied(
        HEAD
        + """g (float[2] x, bool c) => (float[2] y) {
            [if] y = If (c) <
                then_branch: graph = t () => (float[2] a) {
                    [down] d = Cast <to: int = 10> (x)
                    [up] a = Cast <to: int = 1> (d)
                    [n] n = Neg (a)
                },
                else_branch: graph = e () => (float[2] b) { [b] b = Neg (x) }>
        }"""
    )
    branch = model.graph.node[0].attribute[0].g
    assert [node.input[0] for node in branch.node if node.op_type == "Neg"] == ["x"]
    assert casts(branch) == [("x", FP16, branch.output[0].name)]


def test_a_cast_in_a_body_that_undoes_a_widening_one_outside_goes(applied):
    model = applied(
        HEAD
        + """g (float[2] x, bool c) => (float[2] y) {
            [round] r = Cast <to: int = 16> (x)
            [widen] w = Cast <to: int = 1> (r)
            [if] y = If (c) <
                then_branch: graph = t () => (float[2] a) {
                    [undo] u = Cast <to: int = 16> (w)
                    [again] v = Cast <to: int = 1> (u)
                    [kept] a = Neg (v)
                },
                else_branch: graph = e () => (float[2] b) { [kept_too] b = Neg (w) }>
        }""",
        keep=["kept", "kept_too", "if"],
    )
    branches = [attribute.g for attribute in model.graph.node[-1].attribute]
    assert [casts(branch) for branch in branches] == [[("r", FP32, "v")], []]
    assert [(source, to) for source, to, _ in casts(model.graph)] == [("x", BF16), ("r", FP32)]


def test_a_cast_of_an_input_that_was_put_to_use_makes_an_output_too(applied):
    model = applied(
        HEAD
        + """g (float[2] x) => (float[2] y, float[2] z) {
            [tanh] z = Tanh (x)
            [round] r = Cast <to: int = 10> (x)
            [widen] y = Cast <to: int = 1> (r)
            [other] o = Cast <to: int = 16> (y)
            [read] p = Cast <to: int = 1> (o)
        }""",
        keep_io_types=("x",),
    )
    assert [output for source, _, output in casts(model.graph) if source == "x"] == ["y"]
    assert [(source, to) for source, to, _ in casts(model.graph)][:2] == [("x", FP16), ("y", BF16)]
