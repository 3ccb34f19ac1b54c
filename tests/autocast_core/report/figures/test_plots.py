import io
import subprocess
import sys

from autocast_core.calibrate.statistics import Statistics
from autocast_core.config import Precision
from autocast_core.plan import NodeDecision, PrecisionPlan
from autocast_core.report.figures.plots import dynamic_range, plots, precision_by_operator, sizes
from autocast_core.report.operators import operator_counts


def _png(figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def test_every_plot_renders(make_report):
    figures = plots(make_report())
    assert set(figures) == {"precision_by_operator", "dynamic_range", "output_error", "size"}
    assert all(_png(figure).startswith(b"\x89PNG") for figure in figures.values())


def test_there_is_no_plot_of_what_was_not_measured(make_report):
    assert set(plots(make_report(statistics=Statistics(), fidelity={}))) == {"precision_by_operator", "size"}


def test_bars_have_the_counts_of_the_plan(make_report):
    axes = precision_by_operator(make_report(names=[f"n{i}" for i in range(20)]).plan).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["Relu", "Conv"]
    assert [container.datavalues.tolist() for container in axes.containers] == [[18, 0], [0, 2], [0, 0]]


def test_rare_operator_types_are_summed():
    nodes = tuple(NodeDecision(f"graph/{i}", f"Op{i}", Precision.FP32, "r", "d") for i in range(5))
    counts = operator_counts(PrecisionPlan(Precision.FP16, "", "", nodes), limit=3)
    assert [(each.op_type, each.fp32) for each in counts] == [("d::Op0", 1), ("d::Op1", 1), ("other", 3)]


def test_dollars_in_names_start_no_formula(make_report, fidelity):
    measured = {"fidelity": fidelity(names={"$\\frac$": "frac"})}
    assert _png(plots(make_report(fidelity=measured))["output_error"])


def test_an_empty_model_has_plots():
    plan = PrecisionPlan(Precision.BF16, "", "", ())
    assert _png(precision_by_operator(plan))
    assert _png(dynamic_range(plan, Statistics()))


def test_sizes_are_in_megabytes():
    assert sizes(2_000_000, 1_000_000).axes[0].containers[0].datavalues.tolist() == [2.0, 1.0]


def test_importing_the_module_does_not_import_matplotlib():
    names = "autocast_core.report.figures.plots, autocast_core.report.pages.report_page"
    code = f"import sys, {names}; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
