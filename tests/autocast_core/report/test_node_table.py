import json
import math

from autocast_core.config import Precision
from autocast_core.plan import Evidence, NodeDecision, PrecisionPlan
from autocast_core.report.node_table import COLUMNS, node_table


def test_the_columns_are_the_documented_ones(make_report):
    assert tuple(node_table(make_report().plan)) == COLUMNS
    assert (
        *("id", "op_type", "domain", "precision", "rule", "reason"),
        *("tensor", "min", "max", "absmax", "limit", "replaces"),
    ) == COLUMNS


def test_a_kept_node_shows_its_evidence(make_report):
    columns = node_table(make_report().plan)
    row = {name: cells[0] for name, cells in columns.items()}
    assert (row["id"], row["precision"], row["tensor"]) == ("graph/a", "fp32", "a out")
    assert (row["absmax"], row["limit"]) == (1000.0, 512.0)


def test_numbers_that_are_not_finite_become_null():
    evidence = Evidence("t", -math.inf, math.nan, math.inf, 512.0)
    node = NodeDecision("graph/n", "Add", Precision.FP32, "io_range", evidence=(evidence,), replaces=("x", "y"))
    columns = node_table(PrecisionPlan(Precision.FP16, "", "", (node,)))
    assert (columns["min"], columns["max"], columns["absmax"]) == ([None], [None], [None])
    assert columns["replaces"] == ["x, y"]
    json.dumps(columns, allow_nan=False)
