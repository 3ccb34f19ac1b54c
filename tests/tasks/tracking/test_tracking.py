"""Runs, logged models and versions in a local MLflow store."""

import json
import subprocess
import sys
from hashlib import sha256
from urllib.parse import unquote

import numpy as np
import onnx
import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import BAD_REQUEST

from autocast_core.errors import ConfigError, ServiceError
from autocast_core.model import file_digest
from autocast_core.model.reference import ModelRef
from tasks.tracking.logged_model import log_model, signature
from tasks.tracking.registry.model_versions import register_version, set_alias
from tasks.tracking.runs import RunRef, begin_run, end_run, log, log_artifacts, log_dataset, note
from tasks.tracking.store import artifact_location, connect, experiment_id, shown, sqlite_file, tracking_errors, usable
from tasks.tracking.trial_log import log_trial

RELU = '<ir_version: 9, opset_import: ["": 17]> g (float[N, 4] x) => (float[N, 4] y) { y = Relu(x) }'


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return f"sqlite:///{tmp_path_factory.mktemp('store') / 'mlflow.db'}"


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "relu.onnx"
    onnx.save(onnx.parser.parse_model(RELU), path)
    return ModelRef(path, file_digest(path))


@pytest.fixture
def run(store):
    return begin_run(store, "relu-fp16", {"precision": "fp16", "long": "x" * 7000}, {"autocast.source": "relu.onnx"})


def test_an_interrupt_while_a_run_begins_is_raised_also_where_the_store_cannot_end_the_run(store, monkeypatch):
    from mlflow import MlflowClient

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    def locked(*_, **__):
        raise ServiceError("the database is locked")

    monkeypatch.setattr(MlflowClient, "log_batch", interrupted)
    monkeypatch.setattr("tasks.tracking.runs.end_run", locked)
    with pytest.raises(KeyboardInterrupt):
        begin_run(store, "relu-fp16", {"precision": "fp16"}, {})


def test_artifacts_of_a_sqlite_store_lie_beside_the_database(store, run):
    log_artifacts(run, texts={"summary.md": "# hello"}, tables={"t.json": {"id": ["a"]}}, figures={}, files={})
    folder = sqlite_file(store).parent / "mlartifacts" / "autocast" / run.run_id / "artifacts"
    assert (folder / "summary.md").read_text() == "# hello"
    assert json.loads((folder / "t.json").read_text()) == {"columns": ["id"], "data": [["a"]]}


def test_mlflow_reads_a_table_as_it_reads_its_own(store, run):
    table = {"id": ["a", "b"], "error": [0.1234567890123456, float("nan")], "kept": [True, None]}
    log_artifacts(run, texts={}, tables={"tables/t.json": table}, figures={}, files={})
    found = run.client().load_table(run.experiment_id, "tables/t.json", run_ids=[run.run_id])
    assert found.columns.tolist() == ["id", "error", "kept"]
    assert found["error"][0] == pytest.approx(0.1234567890123456, abs=1e-14) and found["error"].isna()[1]
    shown = json.loads(run.client().get_run(run.run_id).data.tags["mlflow.loggedArtifacts"])
    assert shown == [{"path": "tables/t.json", "type": "table"}]


def test_a_table_that_is_written_again_by_a_retry_holds_its_rows_once(store, run):
    for rows in (["a"], ["a", "b"]):
        log_artifacts(run, texts={}, tables={"t.json": {"id": rows}}, figures={}, files={})
    assert run.client().load_table(run.experiment_id, "t.json", run_ids=[run.run_id])["id"].tolist() == ["a", "b"]
    assert len(json.loads(run.client().get_run(run.run_id).data.tags["mlflow.loggedArtifacts"])) == 1


def test_metrics_tags_and_datasets_are_found_in_the_run(run):
    log(run, metrics={f"m{i}": float(i) for i in range(150)}, tags={"autocast.gate": "passed"})
    log_dataset(run, "digits", "s3://data/digits.npz", "ab" * 32, "calibration")
    found = run.client().get_run(run.run_id)
    assert found.data.metrics["m149"] == 149.0
    assert found.data.tags["autocast.gate"] == "passed"
    assert found.data.params["precision"] == "fp16"
    assert found.inputs.dataset_inputs[0].dataset.digest == ("ab" * 32)[:36]


def test_a_failed_run_says_why(run):
    end_run(run, "the model is an HTML page")
    found = run.client().get_run(run.run_id)
    assert found.info.status == "FAILED"
    assert found.data.tags["autocast.failure"] == "the model is an HTML page"


def test_a_registered_version_serves_the_very_bytes_that_were_logged(store, run, model):
    import mlflow

    logged = log_model(run, model, [model.path], name="relu-fp16", params={}, metadata={"autocast": {"a": "b"}})
    made = register_version(run, logged, "relu-fp16", tags={"k": "v"}, description="d", alias="candidate")
    client = run.client()
    version = client.get_model_version_by_alias("relu-fp16", "candidate")
    assert (str(version.version), version.tags["k"], version.source) == (made.version, "v", logged.uri)
    mlflow.set_tracking_uri(store)
    folder = mlflow.artifacts.download_artifacts("models:/relu-fp16@candidate")
    assert file_digest(f"{folder}/relu.onnx") == model.digest
    served = mlflow.pyfunc.load_model("models:/relu-fp16@candidate").predict({"x": np.array([[-1, 0, 1, 2]], "f4")})
    np.testing.assert_array_equal(served["y"], [[0, 0, 1, 2]])
    assert isinstance(mlflow.onnx.load_model("models:/relu-fp16@candidate"), onnx.ModelProto)


def test_a_second_registration_is_a_second_version(run, model):
    logged = [log_model(run, model, [model.path], name="two", params={}, metadata={}) for _ in range(2)]
    versions = [register_version(run, each, "two", tags={}, description="", alias=None).version for each in logged]
    assert versions == ["1", "2"]


def test_a_logged_model_whose_upload_fails_does_not_stay_pending(run, model, monkeypatch):
    from mlflow import MlflowClient

    def full(*_):
        raise OSError("no space left")

    monkeypatch.setattr(MlflowClient, "log_model_artifact", full)
    with pytest.raises(OSError, match="no space left"):
        log_model(run, model, [model.path], name="broken", params={}, metadata={})
    found = run.client().search_logged_models([run.experiment_id], filter_string="name = 'broken'")
    assert [str(each.status) for each in found] == ["FAILED"]


def test_a_bfloat16_input_has_no_signature(tmp_path):
    path = tmp_path / "bf16.onnx"
    onnx.save(onnx.parser.parse_model(RELU.replace("float[", "bfloat16[")), path)
    assert signature(ModelRef(path, "")) is None


def test_an_unreachable_server_is_a_service_error_in_one_whole_sentence(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(ServiceError) as gone:
        connect("http://127.0.0.1:9")
    assert str(gone.value) == (
        "tracking server http://127.0.0.1:9 does not answer (Connection refused); "
        "check MLFLOW_TRACKING_URI and that it runs"
    )


def test_a_deleted_experiment_is_named(tmp_path, monkeypatch):
    uri = f"sqlite:///{tmp_path / 'm.db'}"
    client = connect(uri)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "gone")
    client.delete_experiment(experiment_id(client, uri))
    with pytest.raises(ConfigError, match=r"experiment 'gone'.*is deleted"):
        experiment_id(client, uri)


@pytest.mark.parametrize(
    ("uri", "file"),
    [
        ("sqlite:///.autocast/mlflow.db", ".autocast/mlflow.db"),
        ("sqlite:////var/a%20b.db", "/var/a b.db"),
        ("sqlite+pysqlite:///a.db", "a.db"),
        ("sqlite://", None),
        ("http://host/a.db", None),
        ("postgresql+psycopg2://u:p@h/db", None),
    ],
)
def test_the_database_file_is_read_from_the_uri(uri, file):
    assert str(sqlite_file(uri)) == str(file)
    assert (artifact_location(uri, "autocast") is None) == (file is None)


@pytest.mark.parametrize(
    ("uri", "kind"), [("/data/digits.onnx", "local"), ("s3://m/d.onnx?versionId=1", "s3"), ("models:/d/3", "models")]
)
def test_a_source_model_is_an_input_with_its_whole_digest(run, uri, kind):
    # MLflow takes two inputs of one name and digest for one.
    digest = sha256(uri.encode()).hexdigest()
    log_dataset(run, "source-model", uri, digest, "source-model")
    found = run.client().get_run(run.run_id).inputs.dataset_inputs[0]
    assert (found.dataset.source_type, json.loads(found.dataset.source)) == (kind, {"uri": uri})
    assert {tag.key: tag.value for tag in found.tags} == {
        "mlflow.data.context": "source-model",
        "autocast.sha256": digest,
        "autocast.uri": uri,
    }


def test_a_long_description_ends_with_a_whole_line_and_says_where_the_rest_is(run):
    lines = [f"| node {i} | {'x' * 80} |" for i in range(200)]
    text = note("\n".join(lines))
    kept, rest = text.split("\n\n")
    assert len(text) <= 5000
    assert kept.splitlines() == lines[: len(kept.splitlines())]
    assert "summary.md" in rest
    log(run, tags={"mlflow.note.content": text})
    assert run.client().get_run(run.run_id).data.tags["mlflow.note.content"] == text


def test_a_short_description_is_left_alone():
    assert note("# fp16\n") == "# fp16\n"


def test_the_run_says_with_what_it_was_made(run):
    tags = run.client().get_run(run.run_id).data.tags
    assert tags["mlflow.source.name"] == "autocast-flow"
    assert tags["mlflow.source.type"] == "LOCAL"


def test_trials_are_steps_of_the_run_and_nested_runs(run):
    log_trial(run, 1, [], {"fidelity/rel_l2": 0.5, "fidelity/outputs/y/rel_l2": 0.5})
    log_trial(run, 2, ["graph/a", "graph/b"], {"fidelity/rel_l2": 0.1}, error="no kernel")
    client = run.client()
    history = client.get_metric_history(run.run_id, "trial/fidelity/rel_l2")
    assert [(metric.step, metric.value) for metric in history] == [(1, 0.5), (2, 0.1)]
    nested = client.search_runs([run.experiment_id], f"tags.`mlflow.parentRunId` = '{run.run_id}'", order_by=["tag.a"])
    found = {one.data.tags["autocast.trial"]: one for one in nested}
    assert found["1"].data.metrics == {"nodes/fp32": 0.0, "fidelity/rel_l2": 0.5}
    assert found["2"].data.tags["autocast.kept_fp32"] == "graph/a, graph/b"
    assert [found[number].info.status for number in "12"] == ["FINISHED", "FAILED"]


@pytest.mark.parametrize("password", ["planted", "pl%40nted"])
def test_a_password_in_the_stores_uri_reaches_no_result_and_no_message(tmp_path, monkeypatch, password):
    uri = f"postgresql+psycopg2://me:{password}@127.0.0.1:1/mlflow"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert password not in str(RunRef(shown(uri), "1", "2"))
    assert usable(shown(uri)) == uri
    with pytest.raises(ServiceError) as caught, tracking_errors(uri):
        raise MlflowException(f"API request to {uri} and {unquote(uri)} failed")
    assert password not in str(caught.value) and unquote(password) not in str(caught.value)


def test_processes_that_make_the_store_at_once_all_find_it_made(tmp_path):
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    program = "import sys; from tasks.tracking.store import connect; connect(sys.argv[1])"
    command = [sys.executable, "-c", program, uri]
    started = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    errors = [each.communicate(timeout=120)[1] for each in started]
    assert [each.returncode for each in started] == [0, 0], errors


def test_two_registrations_of_a_new_name_at_once_both_succeed(store, run, model):
    """MLflow's store inserts an alias that it did not find: the second of two is refused by the database."""
    from threading import Barrier, Thread

    logged = log_model(run, model, [model.path], name="race", params={}, metadata={})
    failed = []

    def register(name, barrier):
        barrier.wait(30)
        try:
            register_version(run, logged, name, tags={}, description="", alias="candidate")
        except BaseException as error:
            failed.append(error)

    for number in range(12):
        barrier = Barrier(2)
        both = [Thread(target=register, args=(f"race-{number}", barrier)) for _ in range(2)]
        for thread in both:
            thread.start()
        for thread in both:
            thread.join(60)
    assert failed == []


def conflict():
    return MlflowException(
        "(sqlite3.IntegrityError) UNIQUE constraint failed: registered_model_aliases.name", error_code=1
    )


def test_an_alias_is_set_again_where_another_process_set_it_at_this_moment():
    class Client:
        tried = 0

        def set_registered_model_alias(self, *_):
            self.tried += 1
            if self.tried < 3:
                raise conflict()

    client = Client()
    set_alias(client, "new", "candidate", "1")
    assert client.tried == 3


def test_a_conflict_that_lasts_is_the_servers_not_the_users():
    with pytest.raises(ServiceError, match="UNIQUE constraint"), tracking_errors("sqlite:///x.db"):
        raise MlflowException("UNIQUE constraint failed: aliases.name", error_code=BAD_REQUEST)
