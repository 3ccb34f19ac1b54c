import json
import math

import pytest

from autocast_core.config import Precision
from autocast_core.errors import PlanError
from autocast_core.plan import Evidence, NodeDecision, PrecisionPlan, WeightChange, diff, read_plan


def plan(**changes) -> PrecisionPlan:
    fields = {
        "precision": Precision.FP16,
        "structure_digest": "s" * 64,
        "weights_digest": "w" * 64,
        "nodes": (
            NodeDecision("graph/a", "Mul", "", Precision.FP16, "default"),
            NodeDecision(
                "graph/b", "Exp", "", Precision.FP32, "io_range", "too large",
                (Evidence("h", -1.0, 600.0, 600.0, 512.0), Evidence(detail="seen")), ("c", "d"),
            ),
            NodeDecision("graph/n", "Foo", "custom", Precision.NONE, "no_float"),
        ),
        "settings": {"keep_io_types": ["x"], "init_conversion_max_bytes": 4096},
        "sanitize": ({"step": "masks", "detail": "clamped", "nodes": ["s"]},),
        "weights": (WeightChange("w", 2, 0), WeightChange("v", 0, 3)),
        "io_kept": ("y",),
        "data": {"origin": "calibration", "batches": 4},
        "warnings": ("beware",),
        "engine_version": "1.0",
    }  # fmt: skip
    return PrecisionPlan(**{**fields, **changes})


def test_a_plan_comes_back_from_its_json():
    assert PrecisionPlan.from_json(plan().to_json()) == plan()


def test_the_json_is_canonical():
    text = plan().to_json()
    assert text == PrecisionPlan.from_json(text).to_json()
    assert text.endswith("}\n")
    assert list(json.loads(text)) == sorted(json.loads(text))


def test_infinity_and_nan_become_null():
    node = NodeDecision(
        "graph/a", "Exp", "", Precision.FP32, "io_range", "", (Evidence("h", -math.inf, math.nan, 1.0),)
    )
    (entry,) = json.loads(plan(nodes=(node,)).to_json())["nodes"][0]["evidence"]
    assert entry.get("min") is None and entry.get("max") is None and entry["absmax"] == 1.0


def test_counts_leave_out_nodes_without_floats():
    counts = plan().counts()
    assert (counts.total, counts.low_precision, counts.fp32, counts.share) == (3, 1, 1, 0.5)
    assert plan().summary() == "Converted 1/2 nodes (50.00%) to fp16"
    assert plan(nodes=()).counts().share == 1.0


def test_a_node_is_decided_anew_with_its_evidence_kept():
    changed = plan().with_precisions({"graph/b": Precision.FP16, "graph/a": Precision.FP16}, "search", "cheap")
    assert changed.nodes[0].rule == "default"
    assert (changed.nodes[1].precision, changed.nodes[1].rule) == (Precision.FP16, "search")
    assert changed.nodes[1].evidence == plan().nodes[1].evidence


def test_an_unknown_node_is_not_decided():
    with pytest.raises(PlanError, match="no node 'graph/zzz'"):
        plan().with_precisions({"graph/zzz": Precision.FP16}, "search", "")


def test_a_diff_lists_what_differs_in_order():
    other = plan(
        nodes=(
            plan().nodes[1],
            NodeDecision("graph/a", "Mul", "", Precision.FP32, "search"),
            NodeDecision("graph/z", "Neg", "", Precision.FP16, "default"),
        )
    )
    changes = diff(plan(), other)
    assert [
        (change.id, change.before and str(change.before.precision), change.after and str(change.after.precision))
        for change in changes
    ] == [
        ("graph/a", "fp16", "fp32"),
        ("graph/n", "none", None),
        ("graph/z", None, "fp16"),
    ]
    assert diff(plan(), plan()) == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is not JSON"),
        ("{", "is not JSON"),
        ("[]", "format 'list'"),
        ("{}", "format None"),
        ('{"format": 99}', "format 99"),
        ('{"format": 1}', "lacks or misspells a field"),
        ("[" * 100000, "nested too deeply"),
        (plan().to_json().replace('"fp16"', '"fp8"'), "lacks or misspells a field"),
        (plan().to_json().replace('"fp16"', '"none"'), "is no 16-bit type"),
        (plan().to_json().replace('"absmax"', '"absmaximum"'), "lacks or misspells a field"),
        (plan().to_json().replace('"nodes": [', '"nodes": 7, "x": ['), "lacks or misspells a field"),
    ],
)
def test_other_texts_are_refused_in_one_line(text, said):
    with pytest.raises(PlanError) as error:
        PrecisionPlan.from_json(text)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_errors_of_a_file_name_it(tmp_path):
    for name, content in (("broken.json", b"{"), ("binary.json", b"\xff\xfe"), ("missing.json", None)):
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(PlanError, match=name):
            read_plan(path)
    with pytest.raises(PlanError, match="cannot read"):
        read_plan(tmp_path)


def test_a_file_holds_the_plan(tmp_path):
    path = tmp_path / "plan.json"
    path.write_text(plan().to_json(), encoding="utf-8")
    assert read_plan(path) == plan()
