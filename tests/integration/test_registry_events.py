"""From an event in the registry to a converted version, on real servers: PostgreSQL, Ceph, Prefect, MLflow."""

import json
import time

import pytest

from tasks.prefect.artifacts import artifact_key
from tests.integration.site import CONVERT, DATA, DEMO
from tests.waiting import wait_for

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("integration"), pytest.mark.timeout(500)]

TWICE = {"model": "s3://models/digits/model.onnx"}


@pytest.fixture(scope="module")
def begun(site, tmp_path_factory):
    """What the tests of this module wait for, all of it begun at once: conversions take their time side by side."""
    schedule = _schedule_soon(site)
    site.worker("second")
    # Without calibration data the digits are ruined, which is not what is asked here: the gate is one that they pass.
    spec = {
        "precision": "fp16",
        "name": f"{site.name('twice')}-fp16",
        "evaluation": DATA,
        "validation": "off",
        "gates": ["no_new_nonfinite"],
    }
    twice = [site.request(CONVERT, **TWICE, spec=spec) for _ in range(2)]
    site.asked_version("plain")
    _ask_for_another_kind(site, tmp_path_factory.mktemp("forest"))
    late = site.new_version("late")
    site.registry.set_model_version_tag(late.name, late.version, "note", "by hand")
    _lose_event(site)
    site.down("bridge")
    site.asked_version("patient")
    time.sleep(3)
    site.up("bridge")
    reconciled = [site.request("reconcile-registry/reconcile-registry", leave_minutes=0) for _ in range(2)]
    return {"twice": twice, "reconciled": reconciled, "schedule": schedule}


def _schedule_soon(site):
    """A cron schedule for reconcile-registry, in the minute after next; returns its id and the time."""
    from datetime import UTC, datetime, timedelta

    from prefect.client.orchestration import get_client
    from prefect.client.schemas.schedules import CronSchedule

    at = datetime.now(UTC) + timedelta(seconds=75)
    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name("reconcile-registry/reconcile-registry")
        schedule = CronSchedule(cron=f"{at.minute} {at.hour} * * *", timezone="UTC")
        (made,) = client.create_deployment_schedules(deployment.id, [(schedule, True)])
    return str(made.id), at.replace(second=0, microsecond=0)


def _ask_for_another_kind(site, folder):
    (folder / "MLmodel").write_text("flavors:\n  sklearn:\n    pickled_model: model.pkl\n", encoding="utf-8")
    run = site.registry.create_run("0")
    site.registry.log_artifact(run.info.run_id, str(folder / "MLmodel"), "model")
    source = f"runs:/{run.info.run_id}/model"
    site.new_version("forest", source, run.info.run_id, **{"autocast.precision": "fp16"})


def _lose_event(site):
    (webhook,) = site.registry.list_webhooks()
    site.registry.update_webhook(webhook.webhook_id, status="DISABLED")
    # MLflow remembers its webhooks for a second.
    time.sleep(2)
    site.asked_version("lost")
    time.sleep(1)
    site.registry.update_webhook(webhook.webhook_id, status="ACTIVE")


def test_two_workers_given_the_same_request_at_once_make_one_conversion(site, begun):
    assert sorted(site.ended(run, 200).name for run in begun["twice"]) == ["Completed", "Reused"]
    (version,) = site.outputs("twice")
    mine = [
        run
        for run in site.tracking_runs_where(f"params.model = '{TWICE['model']}'")
        if run.data.params["name"] == version.name
    ]
    assert [(run.info.run_id, run.info.status) for run in mine] == [(version.run_id, "FINISHED")]


def test_a_new_version_that_opts_in_is_converted_once_and_its_output_starts_nothing(site, begun):
    made = site.converted("plain")
    assert made.tags["autocast.source"] == site.uri("plain")
    assert made.tags["autocast.precision"] == "fp16"
    assert made.tags["autocast.evaluation_data"] == "evaluation"
    assert made.tags["autocast.gate"] == "passed"
    (run,) = site.tracking_runs(site.uri("plain"))
    assert run.info.status == "FINISHED"
    assert run.data.metrics["fidelity/rel_l2"] < 0.1
    stored = site.s3.list_objects_v2(Bucket="mlflow", Prefix=f"artifacts/{run.info.experiment_id}/")["Contents"]
    assert any(each["Key"].endswith("/model.onnx") for each in stored)
    assert any(each["Key"].endswith(f"{run.info.run_id}/artifacts/plan.json") for each in stored)
    assert len(site.flow_runs(site.uri("plain"))) == 1
    assert len(site.outputs("plain")) == 1


def test_a_conversion_shows_its_artifacts_and_its_lineage_in_prefect(site, begun):
    made = site.converted("plain")
    (run,) = site.flow_runs(site.uri("plain"))
    shown = site.artifacts(run)
    assert shown["stages"] == 100.0
    key = artifact_key(made.name)
    assert "fidelity/rel_l2" in shown[f"conversion-{key}"]
    assert {row["operator"] for row in json.loads(shown[f"precisions-{key}"])} >= {"Conv", "Gemm"}
    assert made.run_id in shown[f"mlflow-run-{key}"] and "/versions/1" in shown[f"registered-version-{key}"]
    output = f"models://{made.name}/1"
    (event,) = wait_for(lambda: site.events("prefect.asset.materialization.succeeded", output), 30, "the asset")
    sources = [each["prefect.resource.id"] for each in event["related"]]
    assert f"models://{site.name('plain')}/1" in sources
    assert event["payload"]["autocast.output_sha256"] == made.tags["autocast.output_sha256"]
    named = "autocast.conversion.completed"
    (notice,) = wait_for(lambda: site.events(named, f"autocast.conversion.{run.id}"), 30, named)
    assert (notice["payload"]["registered"], notice["payload"]["reason"]) == (f"models:/{made.name}/1", None)


def test_a_request_that_the_spec_does_not_allow_is_refused_by_the_server(site):
    from prefect.exceptions import PrefectHTTPStatusError

    with pytest.raises(PrefectHTTPStatusError, match="precison") as refused:
        site.request(CONVERT, model="s3://models/digits/model.onnx", spec={"precison": "fp16"})
    assert refused.value.response.status_code in (409, 422)


def test_a_cancelled_conversion_leaves_nothing_and_its_tracking_run_ends(site):
    model = site.upload(DEMO / "model.onnx", f"{site.name('cancelled')}/model.onnx")
    name = f"{site.name('cancelled')}-fp16"
    output = f"{site.name('cancelled')}/out/"
    spec = {"name": name, "evaluation": DATA, "validation": "off", "output": f"s3://models/{output}"}
    asked = site.request(CONVERT, model=model, spec=spec)
    wait_for(lambda: site.tracking_runs_where(f"params.model = '{model}'"), 150, "the beginning of the conversion")
    site.cancel(asked)
    assert site.ended(asked).name == "Cancelled"
    (run,) = wait_for(
        lambda: site.tracking_runs_where(f"params.model = '{model}' and attributes.status != 'RUNNING'"), 60, "its end"
    )
    assert run.info.status == "KILLED"
    assert site.outputs("cancelled") == []
    assert "Contents" not in site.s3.list_objects_v2(Bucket="models", Prefix=output)


def test_an_approval_by_tag_is_answered_on_the_version(site, begun):
    made = site.converted("plain")
    site.registry.set_model_version_tag(made.name, made.version, "autocast.approve", "champion")

    def answered():
        tags = site.registry.get_model_version(made.name, made.version).tags
        return "autocast.approve" not in tags and tags.get("autocast.approval")

    assert wait_for(answered, 150, "the answer") == "approved"
    assert site.registry.get_model_version_by_alias(made.name, "champion").version == made.version


def test_a_version_of_another_kind_is_skipped_with_a_reason(site, begun):
    uri = site.uri("forest")
    (skipped,) = wait_for(lambda: [run for run in site.flow_runs(uri) if run.state.is_final()], 150, "the run")
    assert (skipped.state.type.value, skipped.state.name) == ("COMPLETED", "Skipped")
    assert "no ONNX flavor" in skipped.state.message


def test_an_event_while_the_bridge_is_down_is_delivered_again(site, begun):
    assert site.converted("patient").tags["autocast.source"] == site.uri("patient")


def test_a_version_whose_event_was_lost_is_found_and_converted_once(site, begun):
    assert site.converted("lost", 200).tags["autocast.source"] == site.uri("lost")
    assert [site.ended(run).name for run in begun["reconciled"]] == ["Completed", "Completed"]
    assert len(site.flow_runs(site.uri("lost"))) == 1
    assert len(site.outputs("lost")) == 1


def test_a_cron_schedule_fires(site, begun):
    schedule, at = begun["schedule"]

    def fired():
        # The deployment has a schedule of its own, which may fire in the same minute.
        runs = [run for run in site.runs_of("reconcile-registry") if schedule in (run.idempotency_key or "")]
        return [run.expected_start_time for run in runs if run.start_time]

    assert wait_for(fired, 200, f"the scheduled run of {at}") == [at]


def test_a_version_that_does_not_opt_in_starts_nothing_until_a_tag_says_so(site, begun):
    assert site.flow_runs(site.uri("late")) == []
    site.registry.set_model_version_tag(site.name("late"), "1", "autocast.spec", '{"allow_random": true}')
    site.registry.set_model_version_tag(site.name("late"), "1", "autocast.precision", "fp16")
    assert site.converted("late").tags["autocast.evaluation_data"] == "random"


def test_an_event_while_prefect_is_down_for_twenty_seconds_is_delivered_again(site, begun):
    site.down("prefect")
    site.asked_version("stubborn")
    time.sleep(20)
    site.up("prefect", "worker")
    assert site.converted("stubborn").tags["autocast.source"] == site.uri("stubborn")


def test_no_output_ever_started_a_run(site, begun):
    for word in ("plain", "patient", "lost", "twice", "late", "stubborn"):
        assert site.flow_runs(f"models:/{site.name(word)}-fp16/1") == []
