"""Cutting graphs: which nodes stand in which segment, what crosses, and that bodies stay whole."""

import numpy as np
import onnx
import onnx.parser
import onnx.shape_inference
import onnx_ir as ir
import pytest

from autocast_core.backends.segments import Segment, cut_graph
from autocast_core.backends.segments.cut_graph import weight_bytes

HEAD = '<ir_version: 10, opset_import: ["" : 18]>'
ROW = """g (float[N, 4] x) => (float[N, 4] y) <float[4, 4] w0, float[4, 4] w1, float[4, 4] w2, float[4, 4] w3> {
    [m0] a0 = MatMul(x, w0) [r0] b0 = Relu(a0)
    [m1] a1 = MatMul(b0, w1) [r1] b1 = Relu(a1)
    [m2] a2 = MatMul(b1, w2) [r2] b2 = Relu(a2)
    [m3] a3 = MatMul(b2, w3) [r3] y = Relu(a3)
}"""


def model_of(text: str, **weights: tuple[int, ...]) -> ir.Model:
    proto = onnx.parser.parse_model(f"{HEAD}{text}")
    del proto.graph.initializer[:]
    for name, shape in weights.items():
        proto.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(shape, np.float32), name))
    return ir.serde.deserialize_model(onnx.shape_inference.infer_shapes(proto))


def nodes(segments: tuple[Segment, ...]) -> list[list[str | None]]:
    return [[node.name for node in segment.model.graph] for segment in segments]


SQUARES = dict.fromkeys(("w0", "w1", "w2", "w3"), (4, 4))


def test_segments_have_equal_shares_of_the_weights_and_hand_on_one_tensor_each() -> None:
    model = model_of(ROW, **SQUARES)
    found = cut_graph(model, 2)
    assert nodes(found) == [["m0", "r0", "m1", "r1"], ["m2", "r2", "m3", "r3"]]
    assert [(each.reads, each.makes) for each in found] == [(("x",), ("b1",)), (("b1",), ("y",))]
    assert [weight_bytes(each.model) for each in found] == [128, 128]
    assert len(model.graph) == 8


def test_more_segments_than_weights_are_as_many_as_the_weights() -> None:
    assert nodes(cut_graph(model_of(ROW, **SQUARES), 100)) == [[f"m{n}", f"r{n}"] for n in range(4)]


def test_one_large_weight_has_a_segment_of_its_own() -> None:
    model = model_of(
        ROW.replace("[N, 4] y", "[N, M] y").replace("[4, 4] w3", "[4, 400] w3"), **(SQUARES | {"w3": (4, 400)})
    )
    assert nodes(cut_graph(model, 3)) == [["m0", "r0", "m1", "r1", "m2", "r2"], ["m3", "r3"]]


def test_what_reads_no_weight_follows_what_it_reads() -> None:
    """So the measurement of a tensor, at the end of the graph, costs no boundary tensor."""
    text = ROW.replace("(float[N, 4] y)", "(float[N, 4] y, float s)").replace(
        "}", "s = ReduceSum <keepdims = 0> (b0) }"
    )
    found = cut_graph(model_of(text, **SQUARES), 4)
    assert [each.makes for each in found] == [("b0", "s"), ("b1",), ("b2",), ("y",)]


def test_a_cast_weight_goes_with_each_of_its_readers() -> None:
    model = model_of(
        """g (float[N, 4] x) => (float[N, 4] y) <float[4, 4] w0, float[4, 4] w1> {
        [c0] h = Cast <to = 10> (w0) [d0] f = Cast <to = 1> (h)
        [m0] a = MatMul(x, f) [m1] b = MatMul(a, w1) [m2] y = MatMul(b, f)
    }""",
        w0=(4, 4),
        w1=(4, 4),
    )
    found = cut_graph(model, 2)
    assert nodes(found) == [["c0", "d0", "m0"], ["c0", "d0", "m1", "m2"]]
    assert [each.reads for each in found] == [("x",), ("a",)]


def test_a_random_node_is_never_computed_twice() -> None:
    model = model_of(
        """g (float[N, 4] x) => (float[N, 4] y) <float[4, 4] w0, float[4, 4] w1> {
        [r] n = RandomNormal <shape = [4]> ()
        [m0] a = MatMul(x, w0) [s0] b = Add(a, n) [m1] c = MatMul(b, w1) [s1] y = Add(c, n)
    }""",
        w0=(4, 4),
        w1=(4, 4),
    )
    found = cut_graph(model, 2)
    assert nodes(found) == [["r", "m0", "s0"], ["m1", "s1"]]
    assert sorted(found[1].reads) == ["b", "n"]


@pytest.mark.parametrize("parts", [1, 2, 3, 9])
def test_a_body_is_never_cut_and_what_it_captures_crosses(parts: int) -> None:
    model = model_of(
        """g (float[N, 4] x, bool c) => (float[N, 4] y) <float[4, 4] w0, float[4, 4] w1, float[4, 4] w2> {
        [m0] a = MatMul(x, w0)
        [m1] b = MatMul(a, w1)
        [choice] y = If(c) <then_branch = t () => (float[N, 4] p) { [inner] p = MatMul(a, w2) },
                            else_branch = e () => (float[N, 4] q) { q = Add(b, a) }>
    }""",
        w0=(4, 4),
        w1=(4, 4),
        w2=(4, 4),
    )
    found = cut_graph(model, parts)
    assert len(found) == min(parts, 3)
    assert nodes(found)[-1][-1] == "choice"
    if len(found) == 3:
        assert sorted(found[2].reads) == ["a", "b", "c"]


def test_inputs_and_weights_that_are_outputs_come_from_the_first_segment() -> None:
    text = ROW.replace("(float[N, 4] y)", "(float[N, 4] x, float[4, 4] w3, float[N, 4] y)")
    assert cut_graph(model_of(text, **SQUARES), 2)[0].makes == ("b1", "x", "w3")
