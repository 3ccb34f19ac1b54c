"""`autocast review`, `compare`, `promote` and `verify` on conversions in a tracking store."""

import json
from pathlib import Path

import onnx
import pytest

from tests.flows.conversions import batches, client, convert, mlp, registered_folder, working_in

pytestmark = pytest.mark.xdist_group("commands")


@pytest.fixture(scope="module")
def conversions(services, tmp_path_factory):
    """Two conversions of one model: all of it lowered, and with one node kept."""
    folder = tmp_path_factory.mktemp("reviewed")
    with working_in(folder):
        model, data = mlp(folder / "net.onnx", seed=5), batches(folder / "data.npz")
        gates = ("rel_l2<=5e-3", "y.sqnr_db>=20", "no_new_nonfinite")
        first = convert(model, calibration=data, gates=gates, name="reviewed")
        second = convert(model, calibration=data, gates=gates, name="reviewed", nodes_to_exclude=("second",))
        yield first, second


def test_review_says_what_the_report_says(autocast, workplace, conversions):
    ended = autocast("review", "models:/reviewed/1")
    assert ended.code == 0, ended.err
    for words in ("Passes all 3 gates.", "rel_l2<=5e-3", "Before and after", "Not checked", "_onnxruntime/outputs/y"):
        assert words in ended.out
    assert f"models:/reviewed/1, aliases: none, run {conversions[0].run_id}" in " ".join(ended.out.split())


def test_review_as_json_has_the_runs_metrics(autocast, workplace, conversions):
    raw = autocast("review", "models:/reviewed@candidate", "--json").json
    assert raw["model"] == "models:/reviewed/2" and raw["aliases"] == ["candidate"]
    assert raw["metrics"] == client().get_run(conversions[1].run_id).data.metrics
    assert (raw["output_sha256"], raw["gate"]) == (conversions[1].output_sha256, "passed")


def test_compare_names_the_node_that_changed_and_why(autocast, workplace, conversions):
    raw = autocast("compare", conversions[0].run_id, "models:/reviewed/2", "--html", "page.html", "--json").json
    assert [(node["id"], node["before"], node["after"]) for node in raw["nodes"]] == [("graph/second", "fp16", "fp32")]
    assert raw["nodes"][0]["after_reason"] == "node_name: name 'second' matches 'second'"
    assert {"nodes_to_exclude"} <= {setting["name"] for setting in raw["settings"]}
    changes = {metric["name"]: metric["change"] for metric in raw["metrics"]}
    assert changes["nodes/low_precision"] == -1.0
    assert "graph/second" in Path("page.html").read_text()


def test_compare_draws_tables_for_people(autocast, workplace, conversions):
    ended = autocast("compare", conversions[0].run_id, conversions[1].run_id)
    assert "Nodes decided differently" in ended.out and "nodes/low_precision" in ended.out
    assert "1 node is decided differently; the second lowers 0 and keeps 1 in FP32" in " ".join(ended.out.split())


def test_verify_computes_the_whole_chain(autocast, workplace, conversions):
    ended = autocast("verify", "models:/reviewed/2", "--json")
    assert ended.code == 0, ended.err
    assert ended.json["verified"] is True
    links = {link["what"]: link["found"] for link in ended.json["links"]}
    assert links["sha256 of the registered files"] == conversions[1].output_sha256
    assert links["sha256 of plan applied to source"] == conversions[1].output_sha256
    assert links["sha256 of the source"] == conversions[1].source_sha256
    assert "sha256 of the calibration data" in links
    assert len(links) == 15 and all(link["ok"] for link in ended.json["links"])


def test_promote_sets_the_alias_of_a_version_that_is_what_was_measured(autocast, workplace, conversions):
    ended = autocast("promote", "models:/reviewed/2", "--alias", "champion", "--json")
    assert ended.code == 0, ended.err
    assert {gate["expression"]: gate["passed"] for gate in ended.json["gates"]} == {
        "rel_l2<=5e-3": True,
        "y.sqnr_db>=20": True,
        "no_new_nonfinite": True,
        "autocast.gate": True,
    }
    assert str(client().get_model_version_by_alias("reviewed", "champion").version) == "2"


def test_promote_refuses_a_version_whose_gate_does_not_hold(autocast, workplace, conversions):
    run = conversions[0].run_id
    measured = client().get_run(run).data.metrics["fidelity/rel_l2"]
    client().log_metric(run, "fidelity/rel_l2", 0.5)
    try:
        ended = autocast("promote", "models:/reviewed/1", "--alias", "unfit", "--json")
    finally:
        client().log_metric(run, "fidelity/rel_l2", measured)
    assert ended.code == 3
    assert ended.errors == ["error: models:/reviewed/1 is not promoted: rel_l2<=5e-3: fidelity/rel_l2 is 0.5"]
    assert ended.json["alias"] == "unfit" and ended.json["ok"] is False
    assert "unfit" not in client().get_registered_model("reviewed").aliases


@pytest.fixture
def tampered(workplace, conversions):
    """The registered file of version 1 with one bit of a weight changed."""
    file = registered_folder("reviewed", "1") / "model.onnx"
    content = file.read_bytes()
    at = content.index(onnx.load(file).graph.initializer[0].raw_data)
    file.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    yield
    file.write_bytes(content)


@pytest.mark.parametrize("command", [("promote", "--alias", "unfit"), ("verify",)])
def test_changed_files_are_refused(autocast, tampered, command):
    ended = autocast(command[0], "models:/reviewed/1", *command[1:])
    assert ended.code == 2
    assert "models:/reviewed/1 is not what it says: sha256 of the registered files is" in ended.errors[0]
    assert "unfit" not in client().get_registered_model("reviewed").aliases


def test_verify_says_which_link_a_changed_source_breaks(autocast, workplace, conversions):
    source = Path(conversions[0].source)
    content = source.read_bytes()
    try:
        mlp(source, seed=6)
        ended = autocast("verify", "models:/reviewed/1", "--json")
    finally:
        source.write_bytes(content)
    assert ended.code == 2 and "sha256 of the source is" in ended.errors[0]
    broken = [link["what"] for link in ended.json["links"] if not link["ok"]]
    assert broken == ["sha256 of the source", "weights that the plan is for", "sha256 of plan applied to source"]


def test_verify_without_the_source_verifies_nothing(autocast, workplace, conversions):
    source = Path(conversions[0].source)
    source.rename(source.with_suffix(".away"))
    try:
        ended = autocast("verify", "models:/reviewed/1")
    finally:
        source.with_suffix(".away").rename(source)
    assert ended.code == 2
    assert "is not verified: sha256 of the source could not be checked: model" in ended.errors[0]


def test_what_is_not_there_is_named(autocast, workplace, conversions):
    experiment = client().get_experiment_by_name("autocast").experiment_id
    bare = client().create_run(experiment, run_name="by hand").info.run_id
    client().set_terminated(bare)
    whole = conversions[0].run_id
    for arguments, message in (
        (("compare", whole, bare), f"run {bare} (finished) has no plan.json: it was deleted, or the run is no"),
        (("compare", "nowhere", whole), "there is no run 'nowhere' at sqlite:"),
        (("review", "models:/reviewed/9"), "there is no models:/reviewed/9 at sqlite:"),
        (("review", "reviewed"), "'reviewed' is not a registered version: write models:/NAME/VERSION"),
        (("promote", "models:/reviewed@absent", "--alias", "a"), "there is no models:/reviewed@absent"),
    ):
        ended = autocast(*arguments)
        assert ended.code == 2 and len(ended.errors) == 1
        assert message in ended.errors[0]


def test_a_deleted_run_is_named(autocast, workplace, conversions):
    run = client().create_run(client().get_run(conversions[0].run_id).info.experiment_id).info.run_id
    client().delete_run(run)
    ended = autocast("compare", conversions[0].run_id, run)
    assert ended.code == 2 and f"run {run} is deleted" in ended.errors[0]


def test_an_unreachable_server_is_named(autocast, workplace, conversions, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    for arguments in (("compare", "a", "b"), ("review", "models:/a/1"), ("verify", "models:/a/1")):
        ended = autocast(*arguments, "--json")
        assert ended.code == 1 and "tracking server http://127.0.0.1:9" in ended.errors[0]
        assert json.loads(ended.out)["ok"] is False


def test_a_database_that_is_not_there_is_not_made(autocast, workplace, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{workplace / 'none.db'}")
    ended = autocast("review", "models:/a/1")
    assert ended.code == 2 and "there is no tracking database at" in ended.errors[0]
    assert not (workplace / "none.db").exists()
