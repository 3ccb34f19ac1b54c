import onnx.parser
import onnx.shape_inference
import onnx_ir as ir

from autocast_core.report.network import EdgeCast, module_of, network, wiring


def test_wiring_enters_bodies_and_leaves_casts_out():
    model = onnx.parser.parse_model(
        """
        <ir_version: 8, opset_import: ["" : 17]>
        main (bool c, float[2] x) => (float[2] y) {
            [half] h = Cast <to = 10> (x)
            [choose] y = If (c) <
                then_branch = left () => (float[2] l) { [up] l = Exp (x) },
                else_branch = right () => (float[2] r) { [down] r = Neg (x) }
            >
        }
        """
    )
    wires = wiring(ir.serde.deserialize_model(model))
    assert [(w.id, w.inputs, w.outputs) for w in wires] == [
        ("graph/choose", ("c",), ("y",)),
        ("graph/choose:then_branch/up", ("x",), ("l",)),
        ("graph/choose:else_branch/down", ("x",), ("r",)),
    ]


def test_casts_of_the_converted_model_stand_where_nodes_and_outputs_read_them():
    source = """
        <ir_version: 8, opset_import: ["" : 17]>
        main (float[2] x, int64[2] i) => (float[2] y) {
            [half] h = Exp (x)
            [wide] f = Cast <to = 1> (i)
            [sum] y = Add (h, f)
        }
        """
    converted = """
        <ir_version: 8, opset_import: ["" : 17]>
        main (float[2] x, int64[2] i) => (float[2] y) {
            [narrow] x16 = Cast <to = 10> (x)
            [half] h = Exp (x16)
            [wide] f = Cast <to = 10> (i)
            [sum] y16 = Add (h, f)
            [widen] y = Cast <to = 1> (y16)
        }
        """
    before, after = (ir.serde.deserialize_model(_inferred(text)) for text in (source, converted))
    found = network(before, after)
    assert found.casts == (
        EdgeCast("x", "graph/half", "float16"),
        EdgeCast("f", "graph/sum", "float16"),
        EdgeCast("y", None, "float"),
    )
    assert (found.name, found.inputs, found.outputs) == ("main", ("x", "i"), ("y",))
    assert found.passed_on == (("f", "i"),)


def test_modules_are_read_from_the_exporters_namespace_relative_to_each_other():
    node = ir.Node("", "Relu", [], name="relu_1")
    node.metadata_props["namespace"] = ": Net/layers: List/layers.0: Block/layers.0.act: ReLU/relu_1: aten.relu.default"
    assert module_of(node) == "layers/0/act"


def test_a_name_that_is_a_path_needs_no_module():
    node = ir.Node("", "Relu", [], name="/layers/0/Relu")
    node.metadata_props["namespace"] = ": Net/other: Block/relu: aten.relu.default"
    assert module_of(node) == ""


def _inferred(text: str) -> onnx.ModelProto:
    return onnx.shape_inference.infer_shapes(onnx.parser.parse_model(text))
