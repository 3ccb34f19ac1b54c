import json
import math
import os
from pathlib import Path

import numpy as np
import pytest

from autocast_core.config import Precision
from autocast_core.errors import PlanError
from autocast_core.plan import (
    Evidence,
    NodeDecision,
    NodeError,
    PlanData,
    PlanSettings,
    PluginPrecision,
    PrecisionPlan,
    SanitizeChange,
    TargetRecord,
    TargetStep,
    WeightChange,
    read_plan,
)
from autocast_core.plan.plan import MOST_BYTES


def plan(**changes) -> PrecisionPlan:
    fields = {
        "low": Precision.FP16,
        "structure_digest": "5" * 64,
        "weights_digest": "6" * 64,
        "nodes": (
            NodeDecision("graph/a", "Mul", Precision.FP16, "default"),
            NodeDecision(
                "graph/b", "Exp", Precision.FP32, "io_range", "", "too large",
                (Evidence("h", -1.0, 600.0, 600.0, 512.0), Evidence(detail="seen")), ("c", "d"),
            ),
            NodeDecision("graph/n", "Foo", Precision.NONE, "no_float", "custom"),
        ),
        "settings": PlanSettings(
            ("x",), 4096, {"Mul": {"inp": (0,)}}, {"Foo": PluginPrecision((Precision.FP16,), (Precision.FP32,))}
        ),
        "sanitize": (SanitizeChange("masks", "clamped", ("s",)),),
        "weights": (WeightChange("w", 2, 0), WeightChange("v", 0, 3)),
        "io_kept": ("y",),
        "data": PlanData("calibration", "7" * 64, 4, "onnxruntime-cpu"),
        "warnings": ("beware",),
        "engine_version": "1.0",
    }  # fmt: skip
    return PrecisionPlan(**{**fields, **changes})


def searched(**changes) -> PlanData:
    fields = {
        "origin": "evaluation",
        "backend": "simulation",
        "budgets": ("sqnr_db>=50",),
        "evaluations": 12,
        "stopped": None,
        "metrics": {"fidelity/sqnr_db": 51.5},
        "attribution": (NodeError("graph/b", "Exp", 0.25, 1.0, 3),),
        "target": TargetRecord(
            "tensorrt", "TensorRT 10.8", "TensorRT-RTX 1.4", "built", True,
            (TargetStep(1, ("graph/a",), Precision.FP16, Precision.FP32, "no kernel"),),
        ),
    }  # fmt: skip
    return PlanData(**{**fields, **changes})


def test_a_plan_comes_back_from_its_json():
    assert PrecisionPlan.from_json(plan().to_json()) == plan()


def test_the_json_is_canonical():
    text = plan().to_json()
    assert text == PrecisionPlan.from_json(text).to_json()
    assert text.endswith("}\n")
    assert list(json.loads(text)) == sorted(json.loads(text))


OF_A_CONVERSION = """{
 "data": {
  "backend": null,
  "batches": 0,
  "digest": null,
  "origin": "none"
 },
 "engine_version": "1.0",
 "format": 1,
 "io_kept": [],
 "nodes": [
  {
   "evidence": [
    {
     "absmax": 600.0,
     "detail": null,
     "limit": 512.0,
     "max": 600.0,
     "min": -1e-07,
     "tensor": "h\\u00e9"
    }
   ],
   "id": "graph/b",
   "op_type": "Exp",
   "precision": "fp32",
   "rule": "io_range"
  }
 ],
 "precision": "bf16",
 "sanitize": [
  {
   "detail": "named",
   "nodes": [],
   "step": "names"
  }
 ],
 "settings": {
  "keep_io_types": false
 },
 "structure_digest": "STRUCTURE",
 "warnings": [],
 "weights": [
  {
   "clamped": 0,
   "tensor": "w",
   "underflowed": 3
  }
 ],
 "weights_digest": "WEIGHTS"
}
""".replace("STRUCTURE", "5" * 64).replace("WEIGHTS", "6" * 64)


def test_a_conversions_plan_keeps_the_bytes_that_plan_files_have_had_from_the_start():
    evidence = Evidence("hé", -1e-07, 600.0, 600.0, 512.0)
    made = PrecisionPlan(
        Precision.BF16,
        "5" * 64,
        "6" * 64,
        (NodeDecision("graph/b", "Exp", Precision.FP32, "io_range", evidence=(evidence,)),),
        sanitize=(SanitizeChange("names", "named"),),
        weights=(WeightChange("w", 0, 3),),
        engine_version="1.0",
    )
    assert made.to_json() == OF_A_CONVERSION
    assert PrecisionPlan.from_json(OF_A_CONVERSION) == made


def test_settings_and_data_that_are_set_are_written():
    raw = json.loads(plan(data=searched()).to_json())
    assert raw["settings"] == {
        "init_conversion_max_bytes": 4096,
        "keep_io_types": ["x"],
        "operands_to_exclude": {"Mul": {"inp": [0]}},
        "plugin_precisions": {"Foo": [["fp16"], ["fp32"]]},
    }
    assert raw["data"]["stopped"] is None
    assert raw["data"]["attribution"] == [
        {"id": "graph/b", "local": 0.25, "op_type": "Exp", "overflow": 3, "share": 1.0, "underflow": 0}
    ]
    assert raw["data"]["target"]["steps"] == [
        {"after": "fp32", "before": "fp16", "nodes": ["graph/a"], "round": 1, "words": "no kernel"}
    ]


def test_a_searchs_plan_comes_back_from_its_json():
    made = plan(data=searched())
    assert PrecisionPlan.from_json(made.to_json()) == made


def test_a_plan_without_optional_fields_is_read():
    """As people write one, and as the first versions did."""
    raw = json.loads(plan().to_json())
    left = {key: raw[key] for key in ("format", "precision", "structure_digest", "weights_digest", "nodes")}
    found = PrecisionPlan.from_json(json.dumps({**left, "settings": {}, "data": {}}))
    assert found.nodes == plan().nodes
    assert (found.settings, found.data, found.io_kept) == (PlanSettings(), PlanData(), ())


def test_infinity_and_nan_become_null():
    node = NodeDecision(
        "graph/a", "Exp", Precision.FP32, "io_range", evidence=(Evidence("h", -math.inf, math.nan, 1.0),)
    )
    data = searched(metrics={"a": math.inf}, attribution=(NodeError("graph/a", "Exp", math.inf, 1.0),))
    raw = json.loads(plan(nodes=(node,), data=data).to_json())
    (entry,) = raw["nodes"][0]["evidence"]
    assert (entry["min"], entry["max"], entry["absmax"]) == (None, None, 1.0)
    assert raw["data"]["metrics"] == {"a": None}
    assert PrecisionPlan.from_json(json.dumps(raw)).data.attribution[0].local is None


def test_numbers_of_numpy_are_written_as_numbers():
    node = NodeDecision("graph/a", "Exp", Precision.FP32, "io_range", evidence=(Evidence("h", np.float64(0.5)),))
    assert json.loads(plan(nodes=(node,)).to_json())["nodes"][0]["evidence"][0]["min"] == 0.5


@pytest.mark.parametrize(("keep", "kept"), [(True, {"a", "b"}), (False, set()), (("b",), {"b"})])
def test_types_to_keep_are_all_none_or_those_named(keep, kept):
    settings = PlanSettings(keep_io_types=keep)
    assert {name for name in ("a", "b") if settings.keeps_io_type(name)} == kept


def test_counts_leave_out_nodes_without_floats():
    counts = plan().counts()
    assert (counts.total, counts.low_precision, counts.fp32, counts.share) == (3, 1, 1, 0.5)
    assert plan().summary() == "Converted 1/2 nodes (50.00%) to fp16"
    assert plan(nodes=()).counts().share == 1.0


def test_counts_have_the_documented_names_in_metrics():
    assert plan().counts().metrics() == {
        "nodes/total": 3,
        "nodes/low_precision": 1,
        "nodes/fp32": 1,
        "nodes/low_precision_share": 0.5,
    }


def test_a_node_is_decided_anew_with_its_evidence_kept():
    changed = plan().with_precisions({"graph/b": Precision.FP16, "graph/a": Precision.FP16}, "search", "cheap")
    assert changed.nodes[0].rule == "default"
    assert (changed.nodes[1].precision, changed.nodes[1].rule) == (Precision.FP16, "search")
    assert changed.nodes[1].evidence == plan().nodes[1].evidence


def test_an_unknown_node_is_not_decided():
    with pytest.raises(PlanError, match="no node 'graph/zzz'"):
        plan().with_precisions({"graph/zzz": Precision.FP16}, "search", "")


def written(**changes) -> str:
    return json.dumps(json.loads(plan().to_json()) | changes)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is not JSON"),
        ("{", "is not JSON"),
        ("[]", "the plan: expected `object`, got `array`"),
        ("{}", "has format None"),
        ('{"format": 99}', "has format 99; this version reads format 1"),
        ('{"format": 1}', "the plan: object missing required field `precision`"),
        ('{"a":' * 100_000, "nested too deeply"),
        (written(precision="fp8"), "precision: invalid enum value 'fp8': give fp32, fp16, bf16, none"),
        (written(precision="none"), 'precision: expected fp16 or bf16 or ["fp16", "bf16"], got none'),
        (written(precision=["bf16", "fp16"]), 'precision: expected fp16 or bf16 or ["fp16", "bf16"], got bf16,fp16'),
        (written(precision=["fp16"]), "precision: expected `array` of length 2"),
        (written(colour="blue"), "the plan: object contains unknown field `colour`"),
        (written(nodes=7), "nodes: expected `array`, got `int`"),
        (written(nodes=[{"id": "a"}]), "nodes[0]: object missing required field `op_type`"),
        (plan().to_json().replace('"absmax"', '"absmaximum"'), "nodes[1].evidence[0]: object contains unknown field"),
        (written(settings={"keep_io_types": 1}), "settings.keep_io_types: expected `bool | array`, got `int`"),
        (written(settings={"data_max": 1}), "settings: object contains unknown field `data_max`"),
        (
            written(settings={"init_conversion_max_bytes": -1}),
            "settings.init_conversion_max_bytes: expected `int` >= 0",
        ),
        (written(structure_digest="x"), "structure_digest: expected `str` matching regex"),
        (written(data={"attribution": [{"id": "a"}]}), "data.attribution[0]: object missing required field `op_type`"),
    ],
    ids=lambda value: value[:60],
)
def test_what_is_wrong_is_told_in_one_line_with_its_place(text, said):
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
    with pytest.raises(PlanError, match="is not a plan: give a plan"):
        read_plan(tmp_path / "binary.json")
    with pytest.raises(PlanError, match="cannot be read: Is a directory"):
        read_plan(tmp_path)


def test_a_file_holds_the_plan(tmp_path):
    path = tmp_path / "plan.json"
    path.write_text(plan().to_json(), encoding="utf-8")
    assert read_plan(path) == plan()


def test_a_pipe_or_device_is_not_read_as_a_plan(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(PlanError, match=f"{path}: is not a file"):
            read_plan(path)


def test_a_file_larger_than_any_plan_is_not_read(tmp_path):
    with (tmp_path / "plan.json").open("wb") as file:
        file.truncate(MOST_BYTES + 1)
    with pytest.raises(PlanError, match="is larger than 512 MiB"):
        read_plan(tmp_path / "plan.json")
