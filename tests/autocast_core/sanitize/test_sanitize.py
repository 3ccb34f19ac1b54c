import sys

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from autocast_core.config import ConversionConfig, Precision
from autocast_core.model.protobuf.serde import deserialize, serialize
from autocast_core.model.reader import load_model
from autocast_core.sanitize import sanitize
from autocast_core.sanitize.sanitize import NAMING, REPAIRING, REWRITING
from autocast_core.sanitize.types import infer_types
from tests import models
from tests.onnx_models import run_in_onnxruntime

FP16 = ConversionConfig()
BF16 = ConversionConfig(precision=Precision.BF16)
CONFIGS = pytest.mark.parametrize("config", [FP16, BF16], ids=["fp16", "bf16"])


def sanitized(text: str, config: ConversionConfig = BF16) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    before = onnx.parser.parse_model(text)
    after = serialize(sanitize(deserialize(onnx.ModelProto.FromString(before.SerializeToString()), "m"), config).model)
    onnx.checker.check_model(after, full_check=True)
    return before, after


CONTRACT = """
<ir_version: 10, opset_import: ["": 13, "com.microsoft": 1, "mine": 3], producer_name: "maker",
 producer_version: "1.2", domain: "org", model_version: 7, doc_string: "a model", metadata_props: ["k": "v"]>
g (float[N,4] x, float[2] unused) => (float[N,4] y, float[N,4] x, float[4] w, float[N,4] z)
<float[4] w = {1, 2, 3, 4}> {
  a = Softmax(x)
  dead = Exp(a)
  b = com.microsoft.Gelu(a)
  z = mine.Op(b)
  y = Mul(a, w)
}
"""


def test_the_models_contract_survives():
    before, after = sanitized(CONTRACT)
    for field in ("producer_name", "producer_version", "domain", "model_version", "doc_string"):
        assert getattr(after, field) == getattr(before, field)
    assert [(p.key, p.value) for p in after.metadata_props] == [("k", "v")]
    assert list(after.graph.input) == list(before.graph.input)
    assert list(after.graph.output) == list(before.graph.output)


def test_dead_nodes_and_foreign_operators_stay():
    _, after = sanitized(CONTRACT)
    assert [(node.domain, node.op_type) for node in after.graph.node] == [
        ("", "Softmax"), ("", "Exp"), ("com.microsoft", "Gelu"), ("mine", "Op"), ("", "Mul"),
    ]  # fmt: skip
    assert {o.domain: o.version for o in after.opset_import} == {"": 22, "com.microsoft": 1, "mine": 3}


def test_metadata_doc_strings_annotations_and_training_info_survive():
    proto = onnx.parser.parse_model(CONTRACT)
    proto.graph.doc_string = "a graph"
    proto.graph.metadata_props.add(key="graph", value="1")
    proto.graph.node[0].doc_string = "a node"
    proto.graph.node[0].metadata_props.add(key="node", value="2")
    annotation = proto.graph.quantization_annotation.add(tensor_name="a")
    annotation.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value="w")
    proto.training_info.add().algorithm.name = "train"
    after = serialize(sanitize(deserialize(onnx.ModelProto.FromString(proto.SerializeToString()), "m"), BF16).model)
    assert after.graph.doc_string == "a graph"
    assert after.graph.metadata_props[0].key == "graph"
    assert after.graph.node[0].doc_string == "a node"
    assert after.graph.node[0].metadata_props[0].value == "2"
    assert list(after.graph.quantization_annotation) == [annotation]
    assert after.training_info[0].algorithm.name == "train"


def test_one_tensor_that_is_two_outputs_and_an_input_with_a_default_stay():
    text = """
    <ir_version: 8, opset_import: ["": 13]>
    g (float[4] x, float[4] w) => (float[4] y, float[4] z) <float[4] w = {1, 2, 3, 4}> { y = Mul(x, w) z = Identity(y) }
    """
    proto = onnx.parser.parse_model(text)
    proto.graph.output[1].name = "y"
    model = sanitize(ir.serde.deserialize_model(proto), FP16).model
    assert [value.name for value in model.graph.outputs] == ["y", "y"]
    assert [value.name for value in model.graph.inputs] == ["x", "w"]
    assert list(model.graph.initializers) == ["w"]


def test_a_graph_without_nodes_is_a_model():
    _, after = sanitized('<ir_version: 8, opset_import: ["": 13]> g (float[4] x) => (float[4] x) { }')
    assert len(after.graph.node) == 0


@CONFIGS
@pytest.mark.parametrize("name", ["bert_base", "t5_small", "if_loop"])
def test_real_architectures_compute_the_same_in_fp32(name: str, config: ConversionConfig, tmp_path):
    built = models.build(name, tmp_path, layers=2)
    feeds = dict(np.load(built.calibration))
    result = sanitize(load_model(built.path), config)
    (tmp_path / "after.onnx").write_bytes(serialize(result.model).SerializeToString())
    for expected, actual in zip(
        run_in_onnxruntime(built.path, feeds), run_in_onnxruntime(tmp_path / "after.onnx", feeds), strict=True
    ):
        scale = np.linalg.norm(expected.astype(np.float64))
        assert np.linalg.norm(actual.astype(np.float64) - expected) <= 1e-5 * scale
    assert result.warnings == ()


@CONFIGS
def test_sanitizing_twice_changes_nothing_more(config: ConversionConfig, tmp_path):
    built = models.build("t5_small", tmp_path, layers=2)
    once = sanitize(load_model(built.path), config).model
    twice = sanitize(once, config)
    assert twice.changes == ()
    assert serialize(twice.model) == serialize(once)


def test_the_same_model_gives_the_same_bytes_and_is_itself_unchanged(tmp_path):
    built = models.build("bert_base", tmp_path, layers=2)
    model = load_model(built.path)
    untouched = serialize(model).SerializeToString()
    first, second = (serialize(sanitize(model, BF16).model).SerializeToString() for _ in range(2))
    assert first == second
    assert serialize(model).SerializeToString() == untouched


def test_weights_are_shared_with_the_model_that_was_given(tmp_path):
    built = models.build("bert_base", tmp_path, layers=2)
    model = load_model(built.path)
    copy = sanitize(model, BF16).model
    for name, value in copy.graph.initializers.items():
        assert value.const_value is model.graph.initializers[name].const_value


def test_every_pass_says_when_it_does_not_act():
    for step in (*NAMING, infer_types, *REWRITING, *REPAIRING):
        module = sys.modules[step.__module__].__doc__
        assert module is not None and "Does not" in module, step.__name__
