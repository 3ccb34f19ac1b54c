"""What notebooks show: by values made here, and by a model whose names are hostile."""

import re
import subprocess
import sys

import onnx
import pytest

from autocast_core import ConversionConfig, convert_file, tune_file
from autocast_core.lint import inspect_model
from autocast_core.model import load_model
from autocast_core.notebook import html_of
from autocast_core.notebook.fragments import Caption, Table, fragment
from tests.flows.conversions import batches, mlp

HOSTILE = "<script>alert(1)</script> $x$"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("views")
    mlp(folder / "model.onnx")
    batches(folder / "data.npz")
    return folder


@pytest.fixture(scope="module")
def conversion(folder):
    config = ConversionConfig(op_types_to_exclude=("Relu",))
    return convert_file(folder / "model.onnx", folder / "low.onnx", config, calibration=folder / "data.npz")


def test_a_conversion_shows_what_came_of_it_its_sizes_and_what_it_kept(conversion):
    html = conversion._repr_html_()
    assert conversion.plan.summary() in html
    assert f"({conversion.bytes_after / conversion.bytes_before:.0%})" in html
    (kept,) = (node for node in conversion.plan.nodes if node.precision == "fp32")
    assert f'<td style="text-align:left">{kept.id}</td>' in html
    assert len(re.findall(r'<img alt="[^"]+" [^>]*src="data:image/png;base64,', html)) == 2


def test_a_plan_shows_the_rule_and_the_reason_of_what_it_keeps(conversion):
    html = conversion.plan._repr_html_()
    (kept,) = (node for node in conversion.plan.nodes if node.precision == "fp32")
    for text in ("Kept in FP32", kept.rule, kept.reason):
        assert text in html


def test_a_search_shows_its_budgets_what_it_keeps_and_its_trials(folder):
    found = tune_file(folder / "model.onnx", folder / "data.npz", ["sqnr_db>=40"], pareto=True)
    html = found._repr_html_()
    assert "0 nodes kept in FP32" in html
    assert '<td style="text-align:left">sqnr_db&gt;=40</td>' in html
    assert '<img alt="SQNR of the trials"' in html
    assert '<img alt="Accuracy against cost"' in html


def test_a_lint_shows_each_finding_with_its_remedy(conversion):
    inspection = inspect_model(load_model(conversion.output.path))
    html = inspection._repr_html_()
    assert inspection.findings
    for each in inspection.findings:
        assert each.code in html
    assert "Nodes by type" in html


def test_names_of_a_model_are_neither_markup_nor_formulas(tmp_path):
    text = '<ir_version: 8, opset_import: ["": 17]> g (float[N,3] x) => (float[N,3] y) { y = Relu(x) }'
    model = onnx.parser.parse_model(text)
    model.graph.node[0].name = HOSTILE
    onnx.save(model, tmp_path / "m.onnx")
    config = ConversionConfig(op_types_to_exclude=("Relu",))
    html = convert_file(tmp_path / "m.onnx", tmp_path / "low.onnx", config)._repr_html_()
    assert "<script>" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &#36;x&#36;" in html


def test_a_long_table_shows_its_first_rows_and_how_many_there_are():
    html = fragment((Table("Nodes", ("node",), tuple((f"n{i}",) for i in range(2000)), 20),))
    assert "Nodes (20 of 2,000)" in html
    assert html.count("<td") == 20


def test_a_table_without_rows_is_not_shown():
    assert fragment((Caption("none"), Table("Nodes", ("node",), ()))) == "<div><p>none</p></div>"


def test_what_has_no_view_says_so():
    with pytest.raises(TypeError, match="int has no view for notebooks"):
        html_of(1)


def test_nothing_is_imported_for_notebooks_before_one_asks():
    program = (
        "import sys\nfrom autocast_core import Conversion, PrecisionPlan, SearchResult\n"
        "assert not [name for name in sys.modules if name.startswith(('autocast_core.notebook.', 'matplotlib'))]"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True).returncode == 0
