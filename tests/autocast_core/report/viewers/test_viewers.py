"""What Model Explorer and Netron are given, in the forms that they read."""

import json
from dataclasses import replace

import numpy as np
import onnx
import onnx.numpy_helper
import onnx_ir as ir

from autocast_core.config import Precision
from autocast_core.plan import NodeDecision, PrecisionPlan
from autocast_core.report.network import Network, NodeWiring
from autocast_core.report.viewers.model_explorer import node_data
from autocast_core.report.viewers.netron import annotated
from autocast_core.search.attribution import Attribution, NodeError

MODEL = """
    <ir_version: 9, opset_import: ["" : 17]>
    net (float16[2,8] x) => (float16[2,64] y) { [mul] h = MatMul (x, w)  [act] y = Relu (h) }
    """


def _converted() -> ir.Model:
    proto = onnx.parser.parse_model(MODEL)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.ones((8, 64), "f2"), "w"))
    return ir.serde.deserialize_model(proto)


def test_node_data_is_by_graph_and_by_the_names_of_nodes(make_report):
    attribution = Attribution((NodeError("graph/b", "Relu", 0.01, 0.75),))
    data = {stem: json.loads(text) for stem, text in node_data(make_report(attribution=attribution)).items()}
    assert data["precision"]["digits"]["results"]["a"]["value"] == "fp32"
    assert data["precision"]["digits"]["results"]["b"] == {
        "value": "fp16",
        "bgColor": "#cfe3f5",
        "textColor": "#1c2330",
    }
    assert data["error"]["digits"]["results"] == {"b": {"value": 0.75}}
    assert data["range"]["digits"]["results"]["a"] == {"value": 1000.0}
    assert data["range"]["digits"]["thresholds"][2] == {"value": 65504, "bgColor": "#fbdba0"}


def test_nodes_of_bodies_are_in_graphs_of_their_own(make_report):
    report = make_report(names=("a",))
    inside = NodeWiring("graph/a:then_branch/up", "up", ("x",), ("y",))
    plan = PrecisionPlan(
        Precision.FP16, "", "", (*report.plan.nodes, NodeDecision(inside.id, "Exp", Precision.FP16, "default"))
    )
    nodes = (*report.network.nodes, inside)
    data = json.loads(node_data(replace(report, plan=plan, network=Network("main", nodes=nodes)))["precision"])
    assert {graph: list(found["results"]) for graph, found in data.items()} == {"main": ["a"], "a/then_branch": ["up"]}


def test_a_graph_without_a_name_has_no_node_data(make_report):
    report = make_report()
    assert node_data(replace(report, network=replace(report.network, name=""))) == {}


def test_what_was_not_measured_has_no_file(make_report):
    assert set(node_data(make_report())) == {"precision", "range"}


def test_nodes_say_in_their_metadata_what_was_decided():
    plan = PrecisionPlan(
        Precision.FP16,
        "",
        "",
        (
            NodeDecision("graph/mul", "MatMul", Precision.FP16, "default"),
            NodeDecision("graph/act", "Relu", Precision.FP32, "io_range", reason="too large"),
        ),
    )
    model = annotated(_converted(), plan, Attribution((NodeError("graph/mul", "MatMul", 0.01, 0.75),)))
    said = {node.name: dict(node.metadata_props) for node in model.graph}
    assert said["mul"] == {"autocast.precision": "fp16", "autocast.rule": "default", "autocast.error_share": "75.000%"}
    assert said["act"] == {"autocast.precision": "fp32", "autocast.rule": "io_range", "autocast.reason": "too large"}


def test_large_weights_are_left_out_and_the_given_model_keeps_its_own():
    source = _converted()
    proto = ir.to_proto(annotated(source, PrecisionPlan(Precision.FP16, "", "", ())))
    [weight] = proto.graph.initializer
    assert (weight.data_location, list(weight.dims)) == (onnx.TensorProto.EXTERNAL, [8, 64])
    assert not weight.raw_data
    assert source.graph.initializers["w"].const_value.numpy().sum() == 512
