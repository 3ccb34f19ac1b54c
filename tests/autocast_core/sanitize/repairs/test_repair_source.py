"""Repairs leave what a model computes as it is: the source in ONNX Runtime beside the repaired model, bit by bit."""

import numpy as np
import onnx
import onnx.parser
import pytest

from autocast_core import ConversionConfig
from autocast_core.pipeline.artifacts import SanitizedSource
from autocast_core.pipeline.job import Job
from autocast_core.pipeline.stage import in_this_process, run_stages
from autocast_core.pipeline.stages.load import LOAD
from autocast_core.pipeline.stages.sanitize import SANITIZE
from tests.onnx_models import run_in_onnxruntime

X = np.random.default_rng(18).standard_normal((3, 4)).astype(np.float32)
NET = """<ir_version: 8, opset_import: ["": {opset}]>
g (float[b,4] x) => ({outputs}) <float[4] w = {{1, -2, 0.5, 3}}> {{
  h = Add(x, w) {nodes} y = {last}
}}"""


def net(nodes="", last="Neg(h)", outputs="float[b,4] y", opset=17):
    return onnx.parser.parse_model(NET.format(opset=opset, outputs=outputs, nodes=nodes, last=last))


def edited(model, edit):
    edit(model)
    return model


def in_reverse(model):
    nodes = list(model.graph.node)[::-1]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def negative(model):
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = -1


SOURCES = {
    "dimensions": edited(net(), negative),
    "graph_name": edited(net(), lambda model: model.graph.ClearField("name")),
    "ir_version": edited(net(opset=8), lambda model: setattr(model, "ir_version", 3)),
    "outputs": edited(net(), lambda model: model.graph.output[0].type.tensor_type.ClearField("shape")),
    "declared_outputs": net("k = Relu(h)", "Sub(k, x)", "float[7] k, float[9,9] y"),
    "order": edited(net("k = Relu(h)", "Sub(k, x)"), in_reverse),
    "domains": edited(net(), lambda model: setattr(model.graph.node[1], "domain", "ai.onnx")),
    "imports": net(last="com.microsoft.QuickGelu(h)"),
    "imports of ai.onnx.ml": net(last="ai.onnx.ml.Scaler<offset = [0.5], scale = [2.0]>(h)"),
    "early_operators": net(last="LayerNormalization(h, w)", opset=14),
    "early_operators below others that change": net(
        "k = ReduceMean<axes = [1]>(h) s = Softmax(h)", "LayerNormalization(s, w)", "float[b,4] y, float[b,1] k", 11
    ),
    "normalization_axes": net(
        "s = Constant<value_ints = [3, 1, 2, 2]>() k = Reshape(h, s)",
        "MeanVarianceNormalization(k)",
        "float[n,c,h,w] y",
    ),
    "inputs": edited(net(), lambda model: model.graph.input[0].type.tensor_type.ClearField("shape")),
}


@pytest.mark.parametrize("name", SOURCES)
def test_a_repaired_model_computes_what_its_source_does(tmp_path, name):
    source = tmp_path / "source.onnx"
    onnx.save(SOURCES[name], source)
    before = run_in_onnxruntime(source, {"x": X})
    job = Job(source, ConversionConfig(shapes={"x": (3, 4)}, fuse_layer_norm=False))
    made = run_stages((LOAD, SANITIZE), in_this_process(job))[SanitizedSource]
    assert name.partition(" ")[0] in [change.step for change in made.changes]
    after = job.runtime.open(made.model).run({"x": X})
    for was, now in zip(before, after, strict=True):
        np.testing.assert_array_equal(was, now)
