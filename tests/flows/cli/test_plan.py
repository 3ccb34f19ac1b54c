"""`autocast plan`: show, diff, apply."""

import json

import onnx
import pytest
from msgspec.structs import replace

from autocast_core import ConversionConfig, convert_file, tune_file
from autocast_core.plan import PrecisionPlan, RepairRecord
from tests.autocast_core.search.planted import planted_model
from tests.flows.conversions import batches, mlp


@pytest.fixture
def plans(tmp_path):
    """The files of two plans of one model: as decided, and with its second MatMul kept."""
    model, data = mlp(tmp_path / "m.onnx"), batches(tmp_path / "d.npz")
    for name, excluded in (("all", ()), ("kept", ("second",))):
        conversion = convert_file(
            model, tmp_path / f"{name}.onnx", ConversionConfig(nodes_to_exclude=excluded), calibration=data
        )
        (tmp_path / f"{name}.json").write_text(conversion.plan.to_json())
    return tmp_path


def test_show_lists_rules_and_the_nodes_kept(autocast, plans):
    found = autocast("plan", "show", plans / "kept.json", "--json").json
    assert found["summary"] == "Converted 2/3 nodes (66.67%) to fp16"
    assert [node["id"] for node in found["nodes"]] == ["graph/second"]
    assert sum(found["rules"].values()) == 3


def test_show_says_what_a_measured_decision_did(autocast, plans):
    plan = PrecisionPlan.from_json((plans / "kept.json").read_text())
    record = RepairRecord(("sqnr_db>=40",), True, 3, None, 12.0, 61.25, ("graph/second",))
    measured = replace(plan, data=replace(plan.data, repair=record))
    (plans / "measured.json").write_text(measured.to_json())
    ended = autocast("plan", "show", plans / "measured.json")
    assert "Decided by measuring: 1 more node(s) in FP32: 12.0 dB before, 61.2 dB after (3 evaluations)" in ended.out


def test_show_filters_by_node_id(autocast, plans):
    found = autocast("plan", "show", plans / "kept.json", "--nodes", "graph/f", "--json").json
    assert [node["id"] for node in found["nodes"]] == ["graph/first"]


def test_diff_names_the_nodes_that_differ(autocast, plans):
    found = autocast("plan", "diff", plans / "all.json", plans / "kept.json", "--json").json
    assert [change["id"] for change in found["changes"]] == ["graph/second"]
    assert found["changes"][0]["before"].startswith("fp16") and found["changes"][0]["after"].startswith("fp32")


def test_apply_converts_without_data(autocast, plans):
    ended = autocast("plan", "apply", plans / "kept.json", plans / "m.onnx", plans / "again.onnx", "--json")
    assert ended.code == 0
    assert (plans / "again.onnx").read_bytes() == (plans / "kept.onnx").read_bytes()


def test_a_plan_for_another_structure_is_refused_and_nothing_is_written(autocast, plans):
    other = onnx.parser.parse_model(
        '<ir_version: 9, opset_import: ["": 17]> g (float[N, 4] x) => (float[N, 4] y) { [only] y = Relu(x) }'
    )
    onnx.save(other, plans / "other.onnx")
    ended = autocast("plan", "apply", plans / "all.json", plans / "other.onnx", plans / "o.onnx")
    assert ended.code == 2 and len(ended.errors) == 1
    assert not (plans / "o.onnx").exists()


def test_a_file_that_is_no_plan_is_named(autocast, plans):
    (plans / "no.json").write_text(json.dumps({"a": 1}))
    ended = autocast("plan", "show", plans / "no.json")
    assert ended.code == 2 and "no.json" in ended.err


def test_a_pattern_that_does_not_compile_is_named(autocast, plans):
    ended = autocast("plan", "show", plans / "all.json", "--nodes", "(")
    assert ended.code == 2 and "not a valid regular expression" in ended.err


def test_nodes_are_ranked_by_their_share_of_the_error(autocast, tmp_path):
    proto, data = planted_model()
    onnx.save(proto, tmp_path / "m.onnx")
    found = tune_file(tmp_path / "m.onnx", data, ["sqnr_db>=50"], ConversionConfig(batch_size=8))
    (tmp_path / "plan.json").write_text(found.plan.to_json())
    lines = autocast("plan", "show", tmp_path / "plan.json").out.partition("share of the output error")[2].splitlines()
    first = found.attribution.nodes[0]
    assert first.id in lines[4] and f"{first.share:.2%}" in lines[4]


def test_the_schema_is_printed(autocast):
    ended = autocast("plan", "schema")
    assert ended.code == 0
    assert json.loads(ended.out)["title"] == "Precision plan"


def test_tables_are_printed_for_people(autocast, plans):
    assert "graph/second" in autocast("plan", "show", plans / "kept.json").out
    assert "1 node differs" in autocast("plan", "diff", plans / "all.json", plans / "kept.json").out


@pytest.mark.parametrize("output", ["source.onnx", "plan.json", "/dev/null"])
def test_applying_a_plan_replaces_neither_model_nor_plan_nor_a_device(autocast, tmp_path, monkeypatch, output):
    monkeypatch.chdir(tmp_path)
    mlp(tmp_path / "source.onnx")
    (tmp_path / "plan.json").write_text("{}")
    ended = autocast("plan", "apply", "plan.json", "source.onnx", output)
    assert ended.code == 2
    assert any(said in ended.err for said in ("would be replaced", "is a pipe or device"))
    assert (tmp_path / "plan.json").read_text() == "{}"


def test_transfer_writes_a_plan_and_says_what_it_carried(autocast, plans):
    ended = autocast("plan", "transfer", plans / "kept.json", plans / "m.onnx", "-o", plans / "carried.json")
    assert ended.code == 0, ended.err
    assert "3 of 3 decisions were carried over" in ended.out
    carried = PrecisionPlan.from_json((plans / "carried.json").read_text())
    assert [node.id for node in carried.nodes if node.precision == "fp32"] == ["graph/second"]


def test_transfer_to_another_family_is_refused_and_nothing_is_written(autocast, plans):
    text = '<ir_version: 9, opset_import: ["": 18]> g (float[4] x) => (float[4] y) { [only] y = Cos(x) }'
    onnx.save(onnx.parser.parse_model(text), plans / "other.onnx")
    ended = autocast("plan", "transfer", plans / "kept.json", plans / "other.onnx", "-o", plans / "no.json")
    assert ended.code == 2 and "same family" in ended.err
    assert not (plans / "no.json").exists()


def test_place_casts_writes_a_plan_with_both_numbers(autocast, plans):
    ended = autocast(
        "plan", "place-casts", plans / "kept.json", plans / "m.onnx", "-o", plans / "placed.json", "--json"
    )
    assert ended.code == 0, ended.err
    record = PrecisionPlan.from_json((plans / "placed.json").read_text()).data.placement
    assert ended.json["placement"]["cast_bytes_before"] == record.cast_bytes_before > 0
    assert ended.json["placement"]["cast_bytes_after"] == record.cast_bytes_after
