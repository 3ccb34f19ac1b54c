"""Edge cases 15 to 22: names, order, metadata, determinism."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from autocast_core import ConversionConfig, Precision, convert_file, convert_to_f16

X = np.array([[1.0, -2.0, 3.0], [0.5, 0.25, -4.0]], np.float32)
HEAD = '<ir_version: 8, opset_import: ["": 17]>\n'
RESIDUAL = HEAD + "g (float[2,3] x) => (float[2,3] y) { a = Exp(x) b = Softmax(a) c = Mul(b, x) y = Add(a, c) }"


def test_unnamed_nodes_get_names_of_their_own(convert):
    """Every node has a unique name after the conversion (edge case 15)."""
    found = convert(RESIDUAL, {"x": X})
    names = [node.name for node in found.after.graph.node]
    assert all(names) and len(set(names)) == len(names)
    found.assert_close()


def test_one_name_in_main_graph_and_body_means_two_nodes(convert):
    """Nodes are told apart by identity, not by name (edge case 16)."""
    text = (
        HEAD
        + """g (float[2,3] x, bool c) => (float[2,3] z) {
      [same] y = Relu(x)
      z = If(c) <then_branch = t () => (float[2,3] a) { [same] a = Exp(y) },
                 else_branch = e () => (float[2,3] b) { [same] b = Neg(y) }>
    }"""
    )
    found = convert(text, {"x": X, "c": np.array(True)}, op_types_to_exclude=("Exp",))
    kept = [decision.op_type for decision in found.conversion.plan.nodes if decision.precision == Precision.FP32]
    assert kept == ["Exp"]
    found.assert_close()


def test_names_that_a_cast_would_take_are_free_for_the_user(convert):
    """Generated names avoid those that the source already uses (edge case 17)."""
    found = convert(
        HEAD + """g (float[2,3] x) => (float[2,3] y) {
          x_cast_fp32 = Relu(x) [x_cast_fp32] x_fp32 = Exp(x) a = Add(x_cast_fp32, x_fp32) y = Add(a, x)
        }""",
        {"x": X},
        op_types_to_exclude=("Exp",),
    )  # fmt: skip
    found.assert_close()
    names = [name for node in found.after.graph.node for name in node.output]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("keep", [False, True])
def test_converting_a_converted_model_never_lowers_a_kept_node(convert, keep):
    """A second conversion changes nothing and keeps FP32 nodes in FP32 (edge cases 17 and 18)."""
    first = convert(RESIDUAL, {"x": X}, op_types_to_exclude=("Softmax",), keep_io_types=keep)
    second = convert(first.after, {"x": X}, keep_io_types=keep)
    assert second.decision("Softmax_1") == ("fp32", "earlier_conversion")
    assert [node.op_type for node in second.after.graph.node] == [node.op_type for node in first.after.graph.node]
    assert second.after == first.after


def test_nodes_are_in_topological_order_in_bodies_too(convert):
    """Inserted casts stand directly behind what they read (edge case 19)."""
    text = (
        HEAD
        + """g (float[2,3] x, bool c) => (float[2,3] z) {
      y = Relu(x)
      z = If(c) <then_branch = t () => (float[2,3] a) { k = Exp(y) l = Softmax(k) a = Add(l, k) },
                 else_branch = e () => (float[2,3] b) { b = Neg(y) }>
    }"""
    )
    found = convert(text, {"x": X, "c": np.array(True)}, op_types_to_exclude=("Softmax",), small_values=False)
    body = next(a.g for a in found.nodes("If")[0].attribute if a.name == "then_branch")
    assert [node.op_type for node in body.node] == ["Exp", "Cast", "Softmax", "Cast", "Add"]
    found.assert_close()


def test_metadata_documentation_and_producer_survive(convert):
    """Everything that is not computed stays in the file (edge case 20, AutoCast defect 18)."""
    model = onnx.parser.parse_model(HEAD + "g (float[2,3] x) => (float[2,3] y) { [r] a = Relu(x) [e] y = Exp(a) }")
    model.producer_name, model.producer_version, model.domain, model.model_version = "maker", "1.2", "org.maker", 7
    model.doc_string, model.graph.doc_string, model.graph.node[0].doc_string = "model", "graph", "node"
    model.graph.input[0].doc_string, model.graph.output[0].doc_string = "in", "out"
    model.metadata_props.add(key="licence", value="free")
    model.graph.metadata_props.add(key="graph", value="1")
    model.graph.node[0].metadata_props.add(key="layer", value="2")
    after = convert(model, {"x": X}).after
    assert (after.producer_name, after.producer_version, after.domain, after.model_version) == (
        "maker",
        "1.2",
        "org.maker",
        7,
    )
    assert (after.doc_string, after.graph.doc_string, after.graph.node[0].doc_string) == ("model", "graph", "node")
    assert (after.graph.input[0].doc_string, after.graph.output[0].doc_string) == ("in", "out")
    assert {p.key: p.value for p in after.metadata_props}["licence"] == "free"
    assert {p.key: p.value for p in after.graph.metadata_props}["graph"] == "1"
    assert {p.key: p.value for p in after.graph.node[0].metadata_props}["layer"] == "2"


@pytest.mark.parametrize("keep", [False, True])
def test_documentation_of_an_output_that_a_cast_takes_over_stays_with_the_name(convert, keep):
    """The doc_string of an output stays with its name if a Cast now gives that output (edge case 20)."""
    model = onnx.parser.parse_model(HEAD + "g (float[2,3] x) => (float[2,3] y) { a = Relu(x) y = Exp(a) }")
    model.graph.output[0].doc_string = "probabilities"
    model.graph.output[0].metadata_props.add(key="unit", value="none")
    output = convert(model, {"x": X}, keep_io_types=keep).after.graph.output[0]
    assert output.doc_string == "probabilities"
    assert [p.value for p in output.metadata_props] == ["none"]


def test_training_info_survives(convert):
    """training_info is written back as it was read (edge case 20)."""
    model = onnx.parser.parse_model(HEAD + "g (float[2,3] x) => (float[2,3] y) { y = Relu(x) }")
    step = onnx.parser.parse_graph("step () => (float[1] lr) { lr = Constant<value_floats = [0.1]>() }")
    model.training_info.add().algorithm.CopyFrom(step)
    assert convert(model, {"x": X}).after.training_info == model.training_info


def test_quantization_annotations_survive(convert):
    """quantization_annotation still refers to existing tensors (edge case 20)."""
    model = onnx.parser.parse_model(
        HEAD + """g (float[2,3] x) => (float[2,3] y) <float[1] s = {0.5}, int8[1] z = {0}> { a = Relu(x) y = Exp(a) }"""
    )
    annotation = model.graph.quantization_annotation.add(tensor_name="a")
    annotation.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value="s")
    annotation.quant_parameter_tensor_names.add(key="ZERO_POINT_TENSOR", value="z")
    after = convert(model, {"x": X}).after.graph
    assert [
        (each.tensor_name, [(p.key, p.value) for p in each.quant_parameter_tensor_names])
        for each in after.quantization_annotation
    ] == [("a", [("SCALE_TENSOR", "s"), ("ZERO_POINT_TENSOR", "z")])]
    assert {"s", "z"} <= {tensor.name for tensor in after.initializer}


SCRIPT = """
import sys
from autocast_core import ConversionConfig, convert_file
print(convert_file(sys.argv[1], sys.argv[2], ConversionConfig(op_types_to_exclude=("Softmax",))).output.sha256)
"""


def test_bytes_do_not_depend_on_the_hash_seed_or_the_number_of_threads(tmp_path: Path):
    """Two processes with different seeds and threads write the same bytes (edge case 21)."""
    source = tmp_path / "source.onnx"
    onnx.save(onnx.parser.parse_model(RESIDUAL), source)
    digests = set()
    for seed, threads in (("0", "1"), ("7", "2")):
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(source), str(tmp_path / f"out{seed}.onnx")],
            env={**os.environ, "PYTHONHASHSEED": seed, "OMP_NUM_THREADS": threads},
            cwd=Path(__file__).parents[3],
            capture_output=True,
            text=True,
            check=True,
        )
        digests.add(done.stdout)
    assert len(digests) == 1


def test_no_call_leaves_a_trace_for_the_next(tmp_path: Path):
    """Options of one call do not affect the next one (edge case 22, AutoCast defect 15)."""
    model = onnx.parser.parse_model(
        HEAD
        + "g (float[2,3] x) => (float[2,3] y) <float[3,3] w = {1,2,3,4,5,6,7,8,9}> { a = MatMul(x, w) y = Relu(a) }"
    )
    clean = convert_to_f16(model)
    blocked = convert_to_f16(model, tensor_block_dict={"MatMul": {"inp": [0]}}, op_block_list=["Relu"])
    assert blocked != clean
    assert convert_to_f16(model) == clean


@pytest.mark.parametrize("keep", [False, True])
def test_the_callers_model_is_not_modified(keep):
    """The ModelProto that is passed in has the same bytes afterwards (edge case 22)."""
    model = onnx.parser.parse_model(
        HEAD
        + "g (float[2,3] x) => (float[2,3] y) <float[3,3] w = {1,2,3,4,5,6,7,8,9}> { a = MatMul(x, w) y = Relu(a) }"
    )
    before = model.SerializeToString()
    convert_to_f16(model, keep_io_types=keep)
    assert model.SerializeToString() == before


def test_the_metadata_of_a_converted_model_names_the_nodes_that_were_kept(tmp_path: Path):
    """The list of FP32 nodes is stored in the model, for later conversions (edge case 18)."""
    source, target = tmp_path / "source.onnx", tmp_path / "target.onnx"
    onnx.save(onnx.parser.parse_model(RESIDUAL), source)
    convert_file(source, target, ConversionConfig(op_types_to_exclude=("Softmax",)))
    properties = {each.key: each.value for each in onnx.load(target).metadata_props}
    assert json.loads(properties["autocast.fp32_nodes"]) == ["graph/Softmax_1"]
