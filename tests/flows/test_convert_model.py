"""The flow convert-model, end to end on one Prefect server and one MLflow store."""

import json
import re
from pathlib import Path

import numpy as np
import onnx
import pytest

from autocast_core.model import file_digest
from autocast_core.report.text import number, size
from flows.local.home import home
from flows.review.verification import verify_version
from tests.flows.conversions import batches, client, convert, mlp, registered, runs_of, working_in
from tests.tasks.storage.conftest import s3_endpoint  # noqa: F401 - used as a fixture

pytestmark = pytest.mark.xdist_group("prefect")


@pytest.fixture(scope="module")
def converted(services, tmp_path_factory):
    """One conversion with everything, and its folder."""
    folder = tmp_path_factory.mktemp("converted")
    with working_in(folder):
        rng = np.random.default_rng(2)
        evaluation = batches(
            folder / "eval.npz", x=rng.normal(size=(6, 8)).astype("f4"), labels=rng.integers(0, 4, size=6)
        )
        result = convert(
            mlp(folder / "classifier.onnx"),
            calibration=batches(folder / "cal.npz"),
            evaluation=evaluation,
            output=folder / "out",
            gates=("rel_l2<=5e-3", "no_new_nonfinite"),
        )
        yield folder, result


def test_the_output_folder_holds_a_valid_model_and_its_plan(converted):
    folder, result = converted
    onnx.checker.check_model(str(folder / "out" / "model.onnx"), full_check=True)
    assert sorted(path.name for path in (folder / "out").iterdir()) == ["model.onnx", "plan.json"]
    assert file_digest(folder / "out" / "model.onnx") == result.output_sha256
    assert result.output == str(folder / "out" / "model.onnx")


@pytest.fixture(scope="module")
def run(converted):
    """The tracking run of that conversion."""
    _, result = converted
    return client().get_run(result.run_id)


def test_the_run_counts_nodes_casts_and_bytes(run):
    assert run.info.status == "FINISHED"
    assert run.data.metrics["nodes/total"] == 3
    assert run.data.metrics["nodes/low_precision_share"] == 1.0
    assert run.data.metrics["casts/inserted"] == 0
    assert run.data.metrics["model/bytes_after"] < run.data.metrics["model/bytes_before"]


def test_the_run_has_the_fidelity_of_the_worst_output_and_the_tasks_accuracy(converted, run):
    _, result = converted
    for name in ("rel_l2", "max_abs", "cosine", "sqnr_db"):
        assert result.metrics[f"fidelity/outputs/y/{name}"] == run.data.metrics[f"fidelity/{name}"]
    assert "fidelity/mean_abs" in result.metrics and "fidelity/mean_abs" not in run.data.metrics
    assert 0 < run.data.metrics["fidelity/rel_l2"] < 5e-3
    assert run.data.metrics["fidelity_onnxruntime/rel_l2"] < 5e-3
    assert {"task/top1", "task/top1_fp32"} <= run.data.metrics.keys()


def test_the_run_says_what_was_converted_with_which_data_and_whether_it_passed(converted, run):
    folder, result = converted
    tags = run.data.tags
    assert tags["autocast.source_sha256"] == file_digest(folder / "classifier.onnx")
    assert tags["autocast.output_sha256"] == result.output_sha256
    assert tags["autocast.evaluation_data"] == "evaluation"
    assert tags["autocast.gate"] == "passed"
    assert len(tags["autocast.identity"]) == 64
    assert run.data.params["precision"] == "fp16"
    assert "fp16" in tags["mlflow.note.content"]
    assert {d.dataset.name for d in run.inputs.dataset_inputs} == {"source-model", "calibration", "evaluation"}


def test_the_runs_artifacts_are_complete(converted):
    _, result = converted
    names = {artifact.path for artifact in client().list_artifacts(result.run_id)}
    assert {"plan.json", "node_precision.json", "attribution.json", "summary.md", "report.html", "plots"} <= names
    assert {"model_explorer", "netron"} <= names
    assert [a.path for a in client().list_artifacts(result.run_id, "plots")]


def test_the_report_compares_with_the_version_that_was_registered_before(workplace):
    model, calibration = mlp(workplace / "again.onnx"), batches(workplace / "cal.npz")
    first, second = (
        convert(model, calibration=calibration, validation="off", decide="thresholds", nodes_to_exclude=kept)
        for kept in ((), ("relu",))
    )
    assert (first.registered, second.registered) == ("models:/again-fp16/1", "models:/again-fp16/2")
    page = Path(client().download_artifacts(second.run_id, "report.html", str(workplace))).read_text()
    section = page.split('<h2 id="since">')[1].split("</section>")[0]
    assert "models:/again-fp16/1" in section and "which has another graph" not in section
    assert re.search(r"1 node from 16 bits to FP32: .*graph/relu", section)


def test_every_number_in_the_report_is_the_number_in_the_runs_metrics(converted, tmp_path):
    _, result = converted
    text = Path(client().download_artifacts(result.run_id, "report.html", str(tmp_path))).read_text()
    artifact = client().download_artifacts(result.run_id, "metrics.json", str(tmp_path))
    logged = json.loads(Path(artifact).read_text())
    whole = dict(
        re.findall(r'<th scope="row">([^<]+)</th><td>([^<]+)</td>', text.split("<caption>Metrics</caption>")[1])
    )
    assert {name: float(value) for name, value in whole.items()} == logged
    read = re.findall(r'<data value="([^"]*)" title="([^"]*)">([^<]*)</data>', text)
    assert {"model/bytes_after", "fidelity/outputs/y/sqnr_db", "fidelity_onnxruntime/rel_l2", "task/top1"} <= {
        name for _, name, _ in read
    }
    for value, name, words in read:
        assert float(value) == logged[name]
        of_room = {"model": words_of_bytes, "nodes": words_of_nodes}.get(name.partition("/")[0], number)
        words_of = words_of_bytes if name.endswith("_bytes") else of_room
        assert words == words_of(logged[name]), name
    for table in ("gates", "change", "errors", "task"):
        cells = re.findall(r'<td class="n">(.*?)</td>', text.split(f'<h2 id="{table}">')[1].split("</section>")[0])
        assert all("<data" in cell or cell in ("0", "–", "exact") for cell in cells), table
    gates = re.findall(r'<data value="([^"]*)">', text)
    assert [float(value) for value in gates] == [
        logged["fidelity/rel_l2"],
        logged["fidelity/new_nonfinite"],
    ]


def words_of_bytes(value):
    return size(int(value))


def words_of_nodes(value):
    return f"{value:.2%}" if value == 1.0 else f"{value:,.0f}"


def test_what_was_measured_names_its_backend(converted, tmp_path):
    _, result = converted
    text = Path(client().download_artifacts(result.run_id, "report.html", str(tmp_path))).read_text()
    for table in ("errors", "change"):
        section = text.split(f'<h2 id="{table}">')[1].split("</section>")[0]
        assert {"simulation on onnxruntime-cpu", "onnxruntime-cpu"} <= set(re.findall(r"<td>([^<]*)</td>", section))
    assert "measured on onnxruntime-cpu" in text


def test_the_nodes_in_the_report_are_those_of_the_table(converted, tmp_path):
    _, result = converted
    files = [
        Path(client().download_artifacts(result.run_id, name, str(tmp_path)))
        for name in ("node_precision.json", "attribution.json")
    ]
    nodes, shares = (json.loads(file.read_text()) for file in files)
    assert [row[0] for row in nodes["data"]] == ["graph/first", "graph/relu", "graph/second"]
    assert {row[0] for row in shares["data"]} == {"graph/first", "graph/relu", "graph/second"}
    assert sum(row[shares["columns"].index("share")] for row in shares["data"]) == pytest.approx(1.0)


def test_the_registered_version_is_the_output_and_a_candidate(converted):
    import mlflow

    _, result = converted
    version = client().get_model_version_by_alias("classifier-fp16", "candidate")
    assert result.registered == f"models:/classifier-fp16/{version.version}"
    assert version.tags["autocast.output_sha256"] == result.output_sha256
    assert version.tags["autocast.source_sha256"] == result.source_sha256
    assert version.run_id == result.run_id
    folder = mlflow.artifacts.download_artifacts(result.registered)
    assert file_digest(f"{folder}/model.onnx") == result.output_sha256
    assert version.tags["autocast.low_precision_share"] == "1.0000"
    assert {"autocast.source", "autocast.precision", "autocast.version", "autocast.gate"} <= set(version.tags)
    assert version.tags["autocast.backend"] == "simulation on onnxruntime-cpu"
    assert f"runs/{result.run_id}" in version.description and "rel\\_l2" in version.description


def test_the_registered_version_is_served_by_mlflow_and_onnx_runtime(converted):
    import mlflow
    import onnxruntime

    uri = "models:/classifier-fp16@candidate"
    loaded = mlflow.onnx.load_model(uri)
    example = mlflow.models.Model.load(uri).load_input_example(uri)
    assert example["x"].shape == (1, 8)
    served = mlflow.pyfunc.load_model(uri).predict({"x": example["x"].astype("f2")})["y"]
    session = onnxruntime.InferenceSession(loaded.SerializeToString(), providers=["CPUExecutionProvider"])
    np.testing.assert_array_equal(session.run(None, {"x": example["x"].astype("f2")})[0], served)
    assert np.isfinite(served).all()


def test_a_model_card_lies_beside_the_model(converted):
    import mlflow

    _, result = converted
    text = Path(mlflow.artifacts.download_artifacts(f"{result.registered}/README.md")).read_text()
    assert "# classifier-fp16" in text and result.output_sha256 in text and result.source_sha256 in text


def test_the_result_is_json_finite(converted):
    _, result = converted
    raw = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert raw["gates"][0]["expression"] == "rel_l2<=5e-3" and raw["gates"][0]["passed"] is True
    assert {"fetch", "sanitize", "calibrate", "decide", "apply", "verify", "evaluate", "track"} <= set(raw["timings"])


def test_nothing_is_left_in_the_work_folder(converted):
    folder, _ = converted
    assert not any((folder / ".autocast" / "work").glob("*"))


def test_converting_again_gives_the_same_bytes_and_metrics(converted, workplace):
    folder, first = converted
    again = convert(
        folder / "classifier.onnx",
        calibration=folder / "cal.npz",
        evaluation=folder / "eval.npz",
        gates=("rel_l2<=5e-3", "no_new_nonfinite"),
        name="classifier-again",
    )
    assert again.run_id != first.run_id
    assert again.output_sha256 == first.output_sha256
    assert again.metrics == first.metrics


def test_s3_source_and_destination_give_the_same_bytes_and_metrics_as_local_ones(
    converted,
    workplace,
    s3_endpoint,  # noqa: F811
    monkeypatch,
):
    import boto3

    folder, first = converted
    for name, value in {
        "AWS_ENDPOINT_URL_S3": s3_endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    store = boto3.client("s3")
    store.create_bucket(Bucket="flow")
    for name in ("classifier.onnx", "cal.npz", "eval.npz"):
        store.upload_file(str(folder / name), "flow", name)
    result = convert(
        "s3://flow/classifier.onnx",
        calibration="s3://flow/cal.npz",
        evaluation="s3://flow/eval.npz",
        output="s3://flow/out/",
        gates=("rel_l2<=5e-3", "no_new_nonfinite"),
    )
    assert result.output == "s3://flow/out/model.onnx"
    published = store.get_object(Bucket="flow", Key="out/model.onnx")["Body"].read()
    assert published == (folder / "out" / "model.onnx").read_bytes()
    assert (
        store.get_object(Bucket="flow", Key="out/plan.json")["Body"].read()
        == (folder / "out" / "plan.json").read_bytes()
    )
    assert result.metrics == first.metrics


def test_a_missing_bucket_is_bad_input(workplace, s3_endpoint, monkeypatch):  # noqa: F811
    from autocast_core.errors import InputError

    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3_endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    with pytest.raises(InputError, match="no-such-bucket"):
        convert("s3://no-such-bucket/model.onnx")
    run = runs_of("s3://no-such-bucket/model.onnx")[0]
    assert run.info.status == "FAILED" and "no-such-bucket" in run.data.tags["autocast.failure"]


def test_a_registered_version_can_be_the_source(converted, workplace):
    from autocast_core.errors import ConfigError

    with pytest.raises(ConfigError, match="name 'classifier-fp16' is the source model's own"):
        convert("models:/classifier-fp16@candidate", name="classifier-fp16", allow_random=True)


def test_a_missed_gate_registers_and_publishes_nothing_but_can_be_reviewed(workplace):
    from flows.conversion.result import GateMissedError

    model = mlp(workplace / "missed.onnx")
    with pytest.raises(GateMissedError, match=r"rel_l2<=1e-12") as caught:
        convert(model, calibration=batches(workplace / "d.npz"), output=workplace / "o.onnx", gates=("rel_l2<=1e-12",))
    result = caught.value.result
    assert caught.value.exit_code == 3
    assert not (workplace / "o.onnx").exists()
    assert registered("missed-fp16") == []
    run = client().get_run(result.run_id)
    assert run.info.status == "FAILED"
    assert run.data.tags["autocast.gate"] == "failed"
    assert run.data.tags["autocast.failure"].startswith("gate missed: rel_l2<=1e-12")
    assert "fidelity/rel_l2" in run.data.metrics
    assert "plan.json" in {artifact.path for artifact in client().list_artifacts(result.run_id)}


def test_gates_do_not_judge_on_random_data(workplace):
    from flows.conversion.result import GateMissedError

    with pytest.raises(GateMissedError, match="no data"):
        convert(mlp(workplace / "nodata.onnx"))


def test_gates_judge_on_random_data_where_the_spec_says_so(workplace):
    result = convert(mlp(workplace / "random.onnx"), allow_random=True, output=workplace / "named.onnx")
    assert client().get_run(result.run_id).data.tags["autocast.evaluation_data"] == "random"
    assert (workplace / "named.onnx").is_file()
    assert not (workplace / "plan.json").exists()


def test_a_dry_run_decides_and_leaves_nothing(workplace):
    model = mlp(workplace / "dry.onnx")
    result = convert(model, calibration=batches(workplace / "d.npz"), output=workplace / "o", dry_run=True)
    assert result.metrics["nodes/low_precision"] == 3 and "casts/inserted" in result.metrics
    assert result.plan["precision"] == "fp16"
    assert runs_of(model) == [] and registered("dry-fp16") == []
    assert not (workplace / "o").exists()
    assert not any((workplace / ".autocast" / "work").glob("*"))


def test_three_types_are_registered_under_a_name_of_both_and_verified(workplace):
    text = """<ir_version: 9, opset_import: ["": 18]>
    norm (float[N, 8] x) => (float[N, 8] y) <int64[1] axis = {1}> {
        [square] s = Mul(x, x) [mean] m = ReduceMean<keepdims = 1>(s, axis) [root] r = Sqrt(m) [divide] y = Div(x, r)
    }"""
    onnx.save(onnx.parser.parse_model(text), workplace / "norm.onnx")
    data = batches(workplace / "d.npz", x=np.random.default_rng(3).normal(0, 90, (6, 8)).astype("f4"))
    result = convert(workplace / "norm.onnx", calibration=data, output=workplace / "out", precision=["fp16", "bf16"])
    plan = json.loads((workplace / "out" / "plan.json").read_text())
    assert plan["precision"] == ["fp16", "bf16"]
    assert {node["id"]: node["precision"] for node in plan["nodes"]}["graph/square"] == "bf16"
    assert client().get_run(result.run_id).data.tags["autocast.precision"] == "fp16,bf16"
    assert registered("norm-fp16-bf16")
    assert verify_version(result.registered, home()).verified
    assert "worst_batch.sqnr_db>=40" in {gate.expression for gate in result.gates}


def test_bf16_runs_too_and_says_what_was_not_measured(workplace):
    result = convert(
        mlp(workplace / "brain.onnx"),
        calibration=batches(workplace / "d.npz"),
        precision="bf16",
        gates=("rel_l2<=5e-2",),
    )
    assert result.registered == "models:/brain-bf16/1"
    assert not any(name.startswith("fidelity_onnxruntime") for name in result.metrics)
