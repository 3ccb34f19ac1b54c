"""Operators whose meaning changed between opsets compute the same after the upgrade."""

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest

from autocast_core.config import ConversionConfig
from autocast_core.errors import UnconvertibleError
from autocast_core.graph.names import UnusedNames, node_names, value_names
from autocast_core.sanitize.names import give_unique_names
from autocast_core.sanitize.upgrade import upgrade_nodes
from tests.autocast_core.sanitize.unreadable import Unreadable
from tests.onnx_models import run_in_onnxruntime, run_in_reference

X = np.random.default_rng(0).standard_normal((1, 4, 6, 6)).astype(np.float32)

SAME = "float[1,4,6,6] y"
OPERATORS = {
    "softmax": (11, SAME, "y = Softmax<axis = 1>(x)"),
    "softmax_default_axis": (11, SAME, "y = Softmax(x)"),
    "softmax_last_axis": (11, SAME, "y = Softmax<axis = 3>(x)"),
    "logsoftmax": (9, SAME, "y = LogSoftmax<axis = 2>(x)"),
    "hardmax": (11, SAME, "y = Hardmax<axis = 1>(x)"),
    "softmax_dynamic": (11, "float[a,b,c,d] y", "y = Softmax<axis = 1>(x)"),
    "reduce_sum": (11, "float[1,4,1,1] y", "y = ReduceSum<axes = [2, 3]>(x)"),
    "reduce_mean": (17, "float[1,4] y", "y = ReduceMean<axes = [2, 3], keepdims = 0>(x)"),
    "reduce_l2_all": (13, "float[1,1,1,1] y", "y = ReduceL2(x)"),
    "reduce_max": (13, "float[1,4,6,1] y", "y = ReduceMax<axes = [-1]>(x)"),
    "squeeze": (11, "float[4,6,6] y", "y = Squeeze<axes = [0]>(x)"),
    "unsqueeze": (11, "float[1,1,4,6,6,1] y", "y = Unsqueeze<axes = [1, 5]>(x)"),
    "split": (11, "float[1,1,6,6] y, float[1,3,6,6] z", "y, z = Split<axis = 1, split = [1, 3]>(x)"),
    "split_evenly": (13, "float[1,2,6,6] y, float[1,2,6,6] z", "y, z = Split<axis = 1>(x)"),
    "dropout": (11, SAME, "y = Dropout<ratio = 0.5>(x)"),
    "clip": (9, SAME, "y = Clip<min = -0.5, max = 0.25>(x)"),
    "clip_below": (9, SAME, "y = Clip<min = -0.5>(x)"),
    "pad": (9, "float[1,4,8,7] y", 'y = Pad<mode = "constant", pads = [0,0,1,0,0,0,1,1], value = 2.0>(x)'),
    "slice": (9, "float[1,2,6,3] y", "y = Slice<axes = [1, 3], starts = [1, 0], ends = [3, 3]>(x)"),
    "topk": (9, "float[1,4,6,2] y, int64[1,4,6,2] z", "y, z = TopK<axis = -1, k = 2>(x)"),
    "batch_normalization": (9, SAME, "y = BatchNormalization<epsilon = 0.1>(x, p, p, p, p)"),
    "average_pool": (
        9,
        "float[1,4,5,5] y",
        "y = AveragePool<kernel_shape = [3, 3], pads = [1,1,0,0], strides = [1, 1], count_include_pad = 0>(x)",
    ),
    "argmax": (11, "int64[1,1,6,6] y", "y = ArgMax<axis = 1>(x)"),
    "cast": (9, "int32[1,4,6,6] y", "y = Cast<to = 6>(x)"),
    "scatter": (9, SAME, "y = Scatter<axis = 1>(x, i, u)"),
    "upsample": (9, "float[1,4,12,12] y", 'y = Upsample<mode = "nearest">(x, s)'),
    "upsample_linear": (9, "float[1,4,12,12] y", 'y = Upsample<mode = "linear">(x, s)'),
    "resize": (10, "float[1,4,12,12] y", 'y = Resize<mode = "nearest">(x, s)'),
    "resize_linear": (10, "float[1,4,12,12] y", 'y = Resize<mode = "linear">(x, s)'),
    "resize_half_pixel": (11, "float[1,4,12,12] y", 'y = Resize<mode = "cubic">(x, e, s)'),
    "roi_align": (10, "float[1,4,2,2] y", "y = RoiAlign<output_height = 2, output_width = 2>(x, r, b)"),
    "grid_sample": (16, "float[1,4,2,2] y", 'y = GridSample<mode = "bicubic">(x, g)'),
    "grid_sample_linear": (16, "float[1,4,2,2] y", 'y = GridSample<mode = "bilinear">(x, g)'),
    "pow": (9, SAME, "two = Constant<value = float {2.0}>() y = Pow(x, two)"),
    "gemm": (9, "float[24,6] y", "f = Flatten<axis = 3>(x) y = Gemm(f, m, c)"),
    "lstm": (
        7,
        "float[6,1,6,2] y",
        "q = Squeeze<axes = [0]>(x) h = Transpose<perm = [1,2,0]>(q) y, n, o = LSTM<hidden_size = 2>(h, lw, lr)",
    ),
    "quantize": (10, SAME, "q = QuantizeLinear(x, qs, qz) y = DequantizeLinear(q, qs, qz)"),
    "depth_to_space": (9, "float[1,1,12,12] y", "y = DepthToSpace<blocksize = 2>(x)"),
    "cumsum": (11, SAME, "a = Constant<value = int64 {2}>() y = CumSum(x, a)"),
    "instance_normalization": (9, SAME, "y = InstanceNormalization(x, p, p)"),
    "prelu": (9, SAME, "y = PRelu(x, slope)"),
}

WEIGHTS = {
    "p": np.array([0.5, 1.0, 1.5, 2.0], np.float32),
    "i": np.ones((1, 1, 6, 6), np.int64),
    "u": np.full((1, 1, 6, 6), 9.0, np.float32),
    "s": np.array([1, 1, 2, 2], np.float32),
    "e": np.array([], np.float32),
    "r": np.array([[0.0, 0.0, 5.0, 5.0]], np.float32),
    "b": np.array([0], np.int64),
    "g": np.array([[[[-0.9, -0.3], [0.2, 0.8]], [[0.1, 0.0], [0.6, -0.7]]]], np.float32),
    "m": np.random.default_rng(1).standard_normal((6, 6)).astype(np.float32),
    "c": np.ones(6, np.float32),
    "lw": np.full((1, 8, 4), 0.1, np.float32),
    "lr": np.full((1, 8, 2), -0.2, np.float32),
    "qs": np.array(0.05, np.float32),
    "qz": np.array(7, np.uint8),
    "slope": np.full((4, 1, 1), 0.2, np.float32),
}


def built(name: str) -> onnx.ModelProto:
    opset, outputs, nodes = OPERATORS[name]
    inputs = "float[a,b,c,d] x" if name.endswith("_dynamic") else "float[1,4,6,6] x"
    text = f'<ir_version: 4, opset_import: ["": {opset}]> g ({inputs}) => ({outputs}) {{ {nodes} }}'
    proto = onnx.parser.parse_model(text)
    used = {operand for node in proto.graph.node for operand in node.input}
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(WEIGHTS[k], k) for k in WEIGHTS if k in used)
    return proto


def run(proto: onnx.ModelProto, x: np.ndarray) -> list[np.ndarray]:
    try:
        return run_in_onnxruntime(proto, {"x": x})
    except onnxruntime.capi.onnxruntime_pybind11_state.NotImplemented:
        return run_in_reference(proto, {"x": x})


def upgraded(proto: onnx.ModelProto, target: int) -> tuple[onnx.ModelProto, tuple[ir.Node, ...]]:
    model = ir.serde.deserialize_model(onnx.shape_inference.infer_shapes(proto))
    give_unique_names(model, ConversionConfig())
    source = model.graph.opset_imports[""]
    names = UnusedNames(node_names(model)), UnusedNames(value_names(model))
    replaced = upgrade_nodes(list(model.graph.all_nodes()), source, target, *names)
    model.graph.opset_imports[""] = target
    model.ir_version = 10
    return ir.serde.serialize_model(model), replaced


@pytest.mark.parametrize("target", [18, 22])
@pytest.mark.parametrize("name", list(OPERATORS))
def test_an_upgraded_operator_computes_the_same(name: str, target: int):
    before = built(name)
    after, _ = upgraded(before, target)
    onnx.checker.check_model(after, full_check=True)
    for expected, actual in zip(run(before, X), run(after, X), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-6)


def test_the_node_of_the_same_operator_keeps_the_name_and_helpers_are_named_after_it():
    model = built("softmax")
    model.graph.node[0].name = "attention"
    after, replaced = upgraded(model, 13)
    assert {node.op_type: node.name for node in after.graph.node} == {
        "Shape": "attention_Shape",
        "Flatten": "attention_Flatten",
        "Softmax": "attention",
        "Reshape": "attention_Reshape",
    }
    assert len(replaced) == 4


def test_nodes_that_mean_the_same_in_both_opsets_stay_the_same_objects():
    model = ir.serde.deserialize_model(built("gemm"))
    node = model.graph[1]
    assert upgrade_nodes([node], 9, 22, UnusedNames([]), UnusedNames([])) == ()
    assert model.graph[1] is node


def test_metadata_and_doc_string_survive_a_rewrite():
    proto = built("unsqueeze")
    proto.graph.node[0].doc_string = "why"
    proto.graph.node[0].metadata_props.add(key="origin", value="layer 3")
    after, _ = upgraded(proto, 13)
    node = next(node for node in after.graph.node if node.op_type == "Unsqueeze")
    assert (node.doc_string, node.metadata_props[0].value) == ("why", "layer 3")


def test_nodes_in_bodies_are_upgraded_where_they_are():
    text = """
    <ir_version: 8, opset_import: ["": 11]>
    g (float[1,4,6,6] x) => (float[1,4,6,6] y) {
      c = Constant<value = bool {1}>()
      y = If (c) <
        then_branch = t () => (float[1,4,6,6] r) { r = Softmax<axis = 1>(x) },
        else_branch = e () => (float[1,4,6,6] r) { r = Neg(x) }>
    }
    """
    before = onnx.parser.parse_model(text)
    after, _ = upgraded(before, 13)
    assert len(after.graph.node) == 2
    np.testing.assert_allclose(run(after, X)[0], run(before, X)[0], rtol=1e-6)


def test_large_weights_never_pass_through_the_converter():
    model = ir.serde.deserialize_model(built("batch_normalization"))
    give_unique_names(model, ConversionConfig())
    for value in model.graph.initializers.values():
        value.const_value = Unreadable(np.zeros(5000, np.float32), shape=ir.Shape([5000]), name=value.name)
    replaced = upgrade_nodes(list(model.graph), 9, 15, UnusedNames([]), UnusedNames([]))
    assert [node.op_type for node in model.graph] == ["BatchNormalization"]
    assert len(replaced) <= 1


def test_other_domains_and_unknown_operators_are_left_alone():
    text = """
    <ir_version: 8, opset_import: ["": 11, "mine": 1]>
    g (float[2] x) => (float[2] y) { a = mine.Softmax(x) y = Neg(a) }
    """
    after, replaced = upgraded(onnx.parser.parse_model(text), 22)
    assert replaced == ()
    assert (after.graph.node[0].domain, after.graph.node[0].op_type) == ("mine", "Softmax")


def test_what_cannot_be_upgraded_is_refused_with_node_operator_and_remedy():
    body = onnx.parser.parse_graph("b (float s, float e) => (float t, float o) { t = Add(s, e) o = Identity(t) }")
    node = onnx.helper.make_node("Scan", ["lengths", "i", "x"], ["y", "z"], name="loop", body=body, num_scan_inputs=1)
    model = ir.Model(ir.Graph([], [], nodes=[ir.serde.deserialize_node(node)], opset_imports={"": 8}), ir_version=4)
    with pytest.raises(UnconvertibleError, match=r"'loop' \(Scan\).*opset 8.*--opset 8"):
        upgrade_nodes(list(model.graph), 8, 13, UnusedNames([]), UnusedNames([]))


@pytest.mark.parametrize("directions", [[0, 0], [0, 1]])
def test_a_scan_over_a_batch_becomes_one_whose_body_is_the_scan(directions):
    """Opset 8's Scan took a batch at once; two sequences of three elements, the second input also read backwards."""
    body = onnx.parser.parse_graph(
        "b (float[2] s, float[2] e, float[2] f) => (float[2] t, float[2] o) { m = Mul(e, f) t = Add(s, m) o = Neg(t) }"
    )
    node = onnx.helper.make_node(
        "Scan", ["", "i", "x", "w"], ["y", "z"], name="loop", body=body, num_scan_inputs=2, directions=directions
    )
    shapes = {"i": [2, 2], "x": [2, 3, 2], "w": [2, 3, 2], "y": [2, 2], "z": [2, 3, 2]}
    infos = {name: onnx.helper.make_tensor_value_info(name, 1, shape) for name, shape in shapes.items()}
    graph = onnx.helper.make_graph([node], "g", [infos[n] for n in "ixw"], [infos[n] for n in "yz"])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 8)], ir_version=4)
    rng = np.random.default_rng(0)
    feeds = {name: rng.normal(size=shapes[name]).astype(np.float32) for name in "ixw"}
    after, replaced = upgraded(model, 21)
    assert [each.name for each in replaced] == ["loop"]
    onnx.checker.check_model(after, full_check=True)
    for one, other in zip(run_in_onnxruntime(model, feeds), run_in_onnxruntime(after, feeds), strict=True):
        np.testing.assert_array_equal(one, other)
