"""Walking through graphs and their bodies."""

import onnx
import onnx_ir as ir

from autocast_core.config import ConversionConfig
from autocast_core.graph.annotations import is_flat
from autocast_core.graph.walk import all_graphs, all_nodes, nodes_with_ids, outer_reads
from autocast_core.model import load_model
from autocast_core.sanitize import sanitize_in_place

HEAD = '<ir_version: 10, opset_import: ["" : 17]>'
CHAIN = f"{HEAD} g (float[2] x) => (float[2] y) {{ [first] a = Neg(x) [last] y = Neg(a) }}"
BRANCHES = f"""{HEAD} g (bool c, float[2] x) => (float[2] y) {{
    [if] y = If (c) <
        then_branch = t () => (float[2] p) {{ [neg] p = Neg(x) }},
        else_branch = e () => (float[2] q) {{ [abs] q = Abs(x) }}
    >
}}"""
INNER = """[inner] p = If (c) <
    then_branch = tt () => (float[2] r) { [exp] r = Exp(x) },
    else_branch = te () => (float[2] s) { [log] s = Log(x) }
>"""
CALL = """<ir_version: 10, opset_import: ["" : 17, "own" : 1]>
g (bool c, float[2] x) => (float[2] y) { y = own.f(c, x) }
<domain: "own", opset_import: ["" : 17]> f (c, v) => (r) {
    r = If (c) <then_branch = t () => (p) { p = Neg(v) }, else_branch = e () => (q) { q = Abs(v) }>
}"""


def read(text: str, path) -> ir.Model:
    onnx.save(onnx.parser.parse_model(text), path)
    return load_model(path)


def test_a_graph_without_bodies_is_noted_and_walked_as_any_other(tmp_path):
    model = read(CHAIN, tmp_path / "m.onnx")
    assert is_flat(model.graph)
    assert list(all_graphs(model.graph)) == [model.graph]
    assert [node.name for node in all_nodes(model.graph)] == ["first", "last"]
    assert [path for path, _ in nodes_with_ids(model.graph)] == ["graph/first", "graph/last"]


def test_graphs_with_bodies_are_walked_into_them(tmp_path):
    model = read(BRANCHES, tmp_path / "m.onnx")
    assert [(graph.name, is_flat(graph)) for graph in all_graphs(model.graph)] == [
        ("g", False),
        ("t", True),
        ("e", True),
    ]
    assert [node.name for node in all_nodes(model.graph)] == ["if", "neg", "abs"]


def test_graphs_come_before_the_bodies_in_them_and_those_before_the_next_graph(tmp_path):
    outer = BRANCHES.replace("[neg] p = Neg(x)", INNER)
    model = read(outer, tmp_path / "m.onnx")
    assert [graph.name for graph in all_graphs(model.graph)] == ["g", "t", "tt", "te", "e"]
    assert [node.name for node in all_nodes(model.graph)] == ["if", "inner", "exp", "log", "abs"]


def test_what_a_node_reads_from_its_own_graph_counts_once_for_it_and_its_bodies(tmp_path):
    model = read(BRANCHES.replace("[neg] p = Neg(x)", INNER), tmp_path / "m.onnx")
    assert [value.name for value in outer_reads(model.graph[0])] == ["c", "x"]


def test_a_body_that_someone_puts_into_a_model_is_found_when_the_model_is_sanitized(tmp_path):
    model = read(CHAIN, tmp_path / "m.onnx")
    branch = ir.Graph([], [inner := ir.Value(name="p")], nodes=[])
    branch.append(ir.Node("", "Neg", [model.graph.inputs[0]], outputs=[inner], name="inner"))
    model.graph.append(ir.Node("own", "Odd", [], [ir.AttrGraph("body", branch)], name="odd"))
    sanitize_in_place(model, ConversionConfig())
    assert [node.name for node in all_nodes(model.graph)] == ["first", "last", "odd", "inner"]


def test_a_model_with_functions_is_not_noted_since_they_may_bring_bodies(tmp_path):
    assert not is_flat(read(CALL, tmp_path / "m.onnx").graph)
