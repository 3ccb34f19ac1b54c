"""What MLflow's pages show: descriptions, links both ways, plots among the charts."""

from __future__ import annotations

import logging

import pytest
from matplotlib.figure import Figure

from tasks.tracking.descriptions import EXPERIMENT_TAGS, NOTE_TAG, described_model
from tasks.tracking.logged_model import LoggedModel
from tasks.tracking.pages import model_page, model_path, run_path, version_page
from tasks.tracking.registry.model_versions import link_source, register_version
from tasks.tracking.runs import RunRef, begin_run, log_artifacts
from tasks.tracking.store import experiment_id


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunRef:
    return begin_run(f"sqlite:///{tmp_path_factory.mktemp('pages')}/mlflow.db", "a", {}, {})


def logged(run: RunRef, name: str) -> LoggedModel:
    """A logged model without files."""
    made = run.client().create_logged_model(run.experiment_id, name=name, source_run_id=run.run_id)
    return LoggedModel(made.model_id, name)


def test_the_experiment_says_what_it_is(run: RunRef) -> None:
    tags = run.client().get_experiment(run.experiment_id).tags
    assert {name: tags.get(name) for name in EXPERIMENT_TAGS} == dict(EXPERIMENT_TAGS)
    assert "autocast.approve" in tags[NOTE_TAG]


def test_a_new_registered_model_is_described_and_what_people_write_there_stays(run: RunRef) -> None:
    def register() -> None:
        about = described_model("resnet", "fp16")
        register_version(run, logged(run, "m"), "m-fp16", tags={}, description="", alias=None, described=about)

    client = run.client()
    register()
    made = client.get_registered_model("m-fp16")
    assert made.description.startswith("Conversions of resnet to fp16") and made.tags["autocast.converted_to"] == "fp16"
    client.update_registered_model("m-fp16", "ours")
    register()
    assert client.get_registered_model("m-fp16").description == "ours"


def test_an_experiment_that_was_there_is_described_where_nobody_has_described_it(
    run: RunRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = run.client()
    for name, tags in (("plain", {}), ("ours", {NOTE_TAG: "Our models."})):
        made = client.create_experiment(name, tags=tags)
        monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", name)
        assert experiment_id(client, run.tracking_uri) == made
        assert client.get_experiment(made).tags == {**EXPERIMENT_TAGS, **tags}


def test_a_registered_model_that_was_there_is_described_once_where_nobody_has_described_it(run: RunRef) -> None:
    client = run.client()

    def register(name: str) -> None:
        about = described_model("resnet", "fp16")
        register_version(run, logged(run, "m"), name, tags={}, description="", alias=None, described=about)

    client.create_registered_model("old-fp16", {"team": "vision"})
    client.create_registered_model("old-ours", description="ours")
    register("old-fp16")
    register("old-ours")
    found = client.get_registered_model("old-fp16")
    assert found.description.startswith("Conversions of resnet to fp16")
    assert found.tags == {"team": "vision", "autocast.converted_to": "fp16"}
    assert client.get_registered_model("old-ours").description == "ours"
    client.update_registered_model("old-fp16", "")
    register("old-fp16")
    assert not client.get_registered_model("old-fp16").description


def test_a_source_version_names_what_was_made_of_it(run: RunRef) -> None:
    client = run.client()
    client.create_registered_model("source")
    client.create_model_version("source", "s3://b/k", run.run_id)
    link_source(run, "models:/source/1", "fp16", "models:/source-fp16/4")
    assert client.get_model_version("source", "1").tags["autocast.converted.fp16"] == "models:/source-fp16/4"


def test_a_source_that_cannot_be_written_on_costs_a_warning(run: RunRef, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "tasks.tracking.registry.model_versions"):
        link_source(run, "models:/nowhere/1", "fp16", "models:/nowhere-fp16/1")
    assert "models:/nowhere/1 does not say that models:/nowhere-fp16/1 was made of it" in caplog.text


def test_links_open_the_view_of_model_training() -> None:
    run = RunRef("http://mlflow", "3", "ab")
    assert run_path(run) == "#/experiments/3/runs/ab?workflowType=machine_learning"
    assert run_path(run, "artifacts/report.html").startswith("#/experiments/3/runs/ab/artifacts/report.html?")
    assert model_path("a/b c", "2") == "#/models/a%2Fb%20c/versions/2?workflowType=machine_learning"
    assert version_page("http://mlflow/", "models:/m/2") == f"http://mlflow/{model_path('m', '2')}"
    assert str(model_page("http://mlflow:5050/", "it's 1%")).startswith("http://mlflow:5050/#/models/it%27s%201%25?")
    assert model_page("sqlite:///x.db", "m") is None


def test_a_figure_is_an_artifact_and_an_image_among_the_charts(run: RunRef) -> None:
    figure = Figure(figsize=(2, 1))
    log_artifacts(run, texts={}, tables={}, figures={"plots/sizes.png": figure}, files={})
    client = run.client()
    assert [each.path for each in client.list_artifacts(run.run_id, "plots")] == ["plots/sizes.png"]
    images = [each.path for each in client.list_artifacts(run.run_id, "images")]
    assert len(images) == 2 and all(path.startswith("images/sizes+step+0+") for path in images)
    assert client.get_run(run.run_id).data.tags["mlflow.loggedImages"] == "True"
