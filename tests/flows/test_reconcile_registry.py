"""Which registered versions a reconciliation converts, and which tracking runs it ends."""

import time
import uuid

import pytest

from tests.flows.conversions import client

pytestmark = pytest.mark.xdist_group("prefect")


def register(name, source, model_tags=None, **tags):
    """A registered version, and the source's folder."""
    if not any(model.name == name for model in client().search_registered_models()):
        client().create_registered_model(name, tags=model_tags)
    return client().create_model_version(name, source.as_uri(), tags=tags)


def missed(since=0.0, until=float("inf")):
    from flows.reconcile_registry import find_missed
    from flows.request.tag_policy import TagPolicy

    return {each.request.model for each in find_missed(client(), TagPolicy(), since, until)}


def test_versions_that_opt_in_and_were_never_tried_are_missed(workplace, services):
    from tasks.tracking.runs import begin_run, end_run

    opted_in = {"autocast.precision": "fp16"}
    register("asks", workplace, **opted_in)
    register("asks", workplace)
    register("family", workplace, opted_in)
    register("tried", workplace, **opted_in)
    register("killed", workplace, **opted_in)
    end_run(begin_run(services, "done", {}, {"autocast.source": "models:/tried/1"}), "a bad model")
    run = begin_run(services, "dead", {}, {"autocast.source": "models:/killed/1"})
    client().set_terminated(run.run_id, "KILLED")
    assert missed() >= {"models:/asks/1", "models:/family/1", "models:/killed/1"}
    assert not missed() & {"models:/asks/2", "models:/tried/1"}


def test_a_version_whose_tags_were_changed_is_missed_again_however_old_it_is(workplace, services):
    from flows.request.spec import Spec
    from tasks.tracking.registry.conversions import REQUEST_TAG
    from tasks.tracking.runs import begin_run, end_run

    def tried(name, **tags):
        end_run(begin_run(services, "done", {}, {"autocast.source": f"models:/{name}/1", **tags}))

    as_asked = {REQUEST_TAG: Spec(precision="bf16").request_digest()}
    for name in ("as-asked", "otherwise", "before-this-tag", "searched"):
        register(name, workplace, **{"autocast.precision": "bf16"})
    tried("as-asked", **as_asked)
    tried("otherwise", **{REQUEST_TAG: Spec(precision="fp16").request_digest()})
    tried("before-this-tag")
    tried("searched", **{"autocast.flow": "tune-precision"})
    old = time.time() + 60
    assert missed() & {f"models:/{name}/1" for name in ("as-asked", "otherwise", "before-this-tag", "searched")} == {
        "models:/otherwise/1",
        "models:/searched/1",
    }
    assert "models:/otherwise/1" in missed(since=old) and "models:/searched/1" not in missed(since=old)
    tried("otherwise", **as_asked)
    assert "models:/otherwise/1" not in missed()


def _flow_run(state):
    """A run of a deployment of convert-model that is in this state."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as prefect:
        flow = prefect.create_flow_from_name("convert-model")
        deployment = prefect.create_deployment(flow, f"test-{uuid.uuid4()}")
        run = prefect.create_flow_run_from_deployment(deployment)
        prefect.set_flow_run_state(run.id, state, force=True)
    return run.id


def _state_of(flow_run):
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as prefect:
        return prefect.read_flow_run(flow_run).state


def test_a_finished_conversion_that_waits_goes_on_and_one_of_long_ago_is_said_to_be_lost(
    workplace, services, monkeypatch
):
    from prefect.states import Failed

    from autocast_core.errors import ServiceError
    from flows.conversion.ending_states import waiting
    from flows.reconcile_registry import reconcile_registry

    waits, failed = _flow_run(waiting(ServiceError("MLflow is gone"))), _flow_run(Failed(message="a bug"))
    assert str(waits) in reconcile_registry(days=0.0)["resumed"]
    assert (_state_of(waits).name, _state_of(failed).name) == ("AwaitingRetry", "Failed")
    old = _flow_run(waiting(ServiceError("MLflow was gone")))
    monkeypatch.setattr("flows.reconcile_registry.KEEP_FAILED_SECONDS", -60)
    assert reconcile_registry(days=0.0)["resumed"] == []
    assert _state_of(old).name == "Failed"
    assert "could not be published within a week; convert again" in _state_of(old).message


def test_a_run_whose_worker_was_lost_says_so(workplace, services):
    from prefect.states import Crashed

    from flows.reconcile_registry import reconcile_registry
    from tasks.tracking.registry.conversions import FLOW_RUN_TAG
    from tasks.tracking.runs import begin_run

    dead = _flow_run(Crashed(message="No heartbeat for 75 s; the machine or the worker died."))
    left = begin_run(services, "left", {}, {FLOW_RUN_TAG: str(dead)})
    assert left.run_id in reconcile_registry(days=0.0)["ended"]
    said = client().get_run(left.run_id).data.tags["autocast.failure"]
    assert said == "its flow run ended as Crashed: No heartbeat for 75 s; the machine or the worker died."


def test_versions_outside_the_period_are_left_alone(workplace, services):
    register("late", workplace, **{"autocast.precision": "bf16"})
    now = time.time()
    assert "models:/late/1" not in missed(until=now - 60)
    assert "models:/late/1" not in missed(since=now + 60)
    assert "models:/late/1" in missed(since=now - 60, until=now + 60)


def test_runs_of_flow_runs_that_are_gone_are_ended(workplace, services):
    from flows.reconcile_registry import reconcile_registry
    from tasks.tracking.registry.conversions import FLOW_RUN_TAG
    from tasks.tracking.runs import begin_run

    left = begin_run(services, "left", {}, {FLOW_RUN_TAG: str(uuid.uuid4())})
    result = reconcile_registry(days=0.0)
    assert left.run_id in result["ended"]
    assert result["requested"] == []
    ended = client().get_run(left.run_id)
    assert (ended.info.status, ended.data.tags["autocast.failure"]) == ("KILLED", "its flow run no longer exists")


@pytest.mark.parametrize("name", ['it\'s "quoted"', "it's", 'a "quoted"'])
def test_a_name_with_quotes_is_found_and_tried_once_and_stops_no_other_version(workplace, services, name):
    from tasks.tracking.runs import begin_run, end_run

    opted_in = {"autocast.precision": "fp16"}
    plain = f"beside {uuid.uuid4()}"
    register(name, workplace, opted_in)
    register(name.replace("'", "_"), workplace, opted_in)
    register(plain, workplace, **opted_in)
    assert missed() >= {f"models:/{name}/1", f"models:/{plain}/1"}
    end_run(begin_run(services, "done", {}, {"autocast.source": f"models:/{name}/1"}), "a bad model")
    assert f"models:/{name}/1" not in missed()
    assert f"models:/{plain}/1" in missed()


def test_one_version_that_cannot_be_judged_stops_no_other(workplace, services, monkeypatch):
    import flows.reconcile_registry as reconcile

    plain, bad = f"beside {uuid.uuid4()}", f"bad {uuid.uuid4()}"
    for name in (bad, plain):
        register(name, workplace, **{"autocast.precision": "fp16"})
    judge = reconcile.request_for

    def fails(tags, *rest):
        if tags.name == bad:
            raise RecursionError("too deep")
        return judge(tags, *rest)

    monkeypatch.setattr(reconcile, "request_for", fails)
    assert f"models:/{plain}/1" in missed()
    assert f"models:/{bad}/1" not in missed()


def test_a_run_whose_tag_names_no_flow_run_is_left_alone(workplace, services):
    from flows.reconcile_registry import _ended_flow_runs
    from tasks.tracking.registry.conversions import FLOW_RUN_TAG
    from tasks.tracking.runs import begin_run

    dead = str(uuid.uuid4())
    for owner in ("' or '1", dead):
        begin_run(services, "left", {}, {FLOW_RUN_TAG: owner})
    assert (dead, "its flow run no longer exists") in list(_ended_flow_runs(client(), services))


def test_an_invalid_setting_of_what_tags_may_choose_fails_the_reconciliation_and_leaves_no_version_out(
    workplace, services, monkeypatch
):
    from autocast_core.errors import ConfigError
    from flows.reconcile_registry import reconcile_registry

    monkeypatch.setenv("AUTOCAST_TAG_OPTIONS", "metric")
    with pytest.raises(ConfigError, match="AUTOCAST_TAG_OPTIONS: 'metric' is not one of"):
        reconcile_registry.with_options(retries=0)()
