"""The runbooks, each followed on real servers in the situation that it is for; two of them with --nightly alone."""

import os
import subprocess

import pytest

from tests.integration.runbook import Runbook, steps
from tests.integration.site import CONVERT, DATA, DEMO
from tests.real_servers import processes
from tests.waiting import wait_for

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("integration of operations"), pytest.mark.timeout(500)]


@pytest.fixture
def runbook(site, tmp_path):
    if processes.is_running(site.folder, "second"):
        site.stop("second")  # another test's, which has the secrets of before
    yield Runbook.at(tmp_path, site.folder)
    # What a runbook left stopped, and secrets that it changed.
    site.up("prefect", "mlflow", "bridge", "worker")
    use_new_secrets(site)


@pytest.fixture
def at_night(nightly):
    """Leaves the test out by day: its situation takes a minute or more to come about."""
    if not nightly:
        pytest.skip("with --nightly")


def use_new_secrets(site):
    """This process's own settings, and boto3's session, which keeps the keys that it began with."""
    import boto3

    os.environ |= site.variables
    boto3.setup_default_session()


def convert(site, word, **variables):
    """A conversion that was asked for by hand."""
    name = f"{site.name(word)}-fp16"
    spec = {"name": name, "evaluation": DATA, "calibration": DATA, "validation": "off"}
    return site.request(CONVERT, variables, model=site.upload(DEMO / "model.onnx", f"{name}/m.onnx"), spec=spec)


def begun(site, flow_run):
    """Waits until the conversion has its tracking run."""
    mine = f"tags.`autocast.flow_run` = '{flow_run.id}'"
    return wait_for(lambda: site.tracking_runs_where(mine), 150, f"the beginning of {flow_run.name}")


def test_a_new_webhook_secret_loses_no_delivery(site, runbook):
    before = site.variables["AUTOCAST_WEBHOOK_SECRET"]
    blocks = steps("rotate-secrets", "The webhook secret")
    runbook.follow(blocks[:1])
    # MLflow still signs with the old one.
    site.asked_version("between")
    wait_for(lambda: site.flow_runs(site.uri("between")), 60, "the run of a version signed with the old secret")
    runbook.follow(blocks[1:])
    assert site.variables["AUTOCAST_WEBHOOK_SECRET"] != before
    site.asked_version("rotated")
    site.converted("rotated")


def test_a_new_key_for_webhook_secrets_keeps_the_webhook_working(site, runbook):
    runbook.follow(steps("rotate-secrets", "The key with which MLflow encrypts webhook secrets"))
    site.asked_version("rekeyed")
    wait_for(lambda: site.flow_runs(site.uri("rekeyed")), 60, "the run of a version")


def test_new_keys_of_the_object_store_replace_the_old_ones_everywhere(site, runbook):
    before = site.variables["AWS_ACCESS_KEY_ID"]
    runbook.follow(steps("rotate-secrets", "Keys of the S3 server"))
    assert site.variables["AWS_ACCESS_KEY_ID"] != before
    use_new_secrets(site)
    ended = site.ended(convert(site, "new-keys"))
    assert ended.name == "Completed", ended.message


def test_a_cancelled_run_ends_and_a_paused_pool_starts_nothing(site, runbook):
    asked = convert(site, "unwanted")
    begun(site, asked)
    runbook.follow(steps("cancel", "One run"), RUN=str(asked.id))
    assert site.ended(asked).name == "Cancelled"
    pause, resume = steps("cancel", "All of them")
    runbook.follow((pause,))
    later = convert(site, "later")
    wait_for(lambda: [run for run in site.flow_runs(later.parameters["model"]) if run.state.name == "Late"], 60, "Late")
    runbook.follow((resume,))
    assert site.ended(later).name == "Completed"


def test_what_a_lost_worker_had_begun_is_done_by_the_next_one(at_night, site, runbook):
    site.asked_version("orphaned")
    source = site.uri("orphaned")
    wait_for(lambda: site.tracking_runs(source), 150, "the beginning of the conversion")
    site.kill_workers()
    wait_for(lambda: site.states(source) == ["Crashed"], 240, "the silent run's state")
    runbook.follow(steps("lost-worker", "What it had begun"))
    wait_for(lambda: site.states(source) == ["Crashed", "Completed"], 150, "the next run")


def test_a_run_that_a_lost_worker_had_taken_gives_its_slot_back(site, runbook):
    from prefect.client.orchestration import get_client
    from prefect.states import Pending

    site.stop("worker")
    taken = site.request("reconcile-registry/reconcile-registry")
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(taken.id, Pending())
    site.up("worker")
    waits = site.request("reconcile-registry/reconcile-registry")
    named = f"AwaitingConcurrencySlot of {waits.name}"
    with get_client(sync_client=True) as client:
        wait_for(lambda: client.read_flow_run(waits.id).state.name == "AwaitingConcurrencySlot", 60, named)
    runbook.follow(steps("lost-worker", "What it had taken and not begun"), RUN=str(taken.id))
    assert site.ended(waits).name == "Completed"


def test_a_run_that_failed_for_lack_of_space_goes_on_once_there_is_some(site, runbook, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("a small file system must be mounted, which this user may not")
    try:
        places = {"AUTOCAST_HOME": str(disk / "home"), "AUTOCAST_CACHE": str(disk / "cache")}
        (disk / "cache").mkdir()
        (disk / "cache" / "old").write_bytes(bytes(1_900_000))
        asked = convert(site, "large", **places)
        ended = site.ended(asked)
        assert (ended.name, "bytes are" in ended.message) == ("Failed", True), ended.message
        subprocess.run(["mount", "-o", "remount,size=200m", str(disk)], check=True)
        runbook.follow(steps("full-disk"), RUN=str(asked.id), **places)
        assert not (disk / "cache" / "old").exists()
        wait_for(lambda: site.states(asked.parameters["model"]) == ["Completed"], 150, "the second try")
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_a_backup_brings_everything_back_and_an_upgrade_keeps_it(at_night, site, runbook):
    site.asked_version("kept")
    made = site.converted("kept")
    uri = f"models:/{made.name}/{made.version}"
    runbook.follow(steps("restore", "Back up"))
    # The disaster: the registry and the bucket lose the version.
    site.registry.delete_registered_model(made.name)
    for each in site.s3.list_objects_v2(Bucket="mlflow", Prefix="artifacts/")["Contents"]:
        site.s3.delete_object(Bucket="mlflow", Key=each["Key"])
    said = runbook.follow(steps("restore", "Restore"), VERSION=uri)
    assert (
        made.tags["autocast.output_sha256"]
        == site.registry.get_model_version(made.name, made.version).tags["autocast.output_sha256"]
    ), said
    runbook.follow(steps("upgrade"))
    assert site.ended(convert(site, "upgraded")).name == "Completed"


def test_the_first_five_minutes_show_how_the_service_is(site, runbook):
    said = runbook.follow(steps("on-call"))
    assert "Prefect" in said and "Work Pools" in said
    assert "Flow Runs" in said or "No flow runs found." in said
