"""Events that ask for the same start one run: the trigger of infra/prefect.yaml on Prefect's own server."""

import asyncio
import os
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from flows.bridge.delivery import Data, Delivery, Message
from flows.bridge.events import event_of
from flows.bridge.servers import Servers
from flows.bridge.settings import BridgeSettings
from flows.request.registry_tags import ConversionRequest

pytestmark = pytest.mark.xdist_group("prefect")
DEPLOYMENTS = Path(__file__).parents[3] / "infra" / "prefect.yaml"


@pytest.fixture
def deployment(services):
    """A deployment that the trigger of convert-model starts, as long as the test runs."""
    from prefect.client.orchestration import get_client
    from prefect.events import DeploymentEventTrigger

    deployments = yaml.safe_load(DEPLOYMENTS.read_text(encoding="utf-8"))["deployments"]
    (declared,) = next(each["triggers"] for each in deployments if each["name"] == "convert-model")
    with get_client(sync_client=True) as client:
        flow = client.create_flow_from_name(f"asked-{uuid.uuid4().hex[:8]}")
        made = client.create_deployment(flow, "asked", enforce_parameter_schema=False)
        trigger = DeploymentEventTrigger(**{**declared, "name": f"start {made}"})
        trigger.set_deployment_id(made)
        automation = client.create_automation(trigger.as_automation())
        yield made
        client.delete_automation(automation)
        client.delete_deployment(made)


def event(version, action, **spec):
    """What the bridge makes of a delivery."""
    entity = "model_version" if action == "created" else "model_version_tag"
    data = Data(name="resnet", version=version, key=None if action == "created" else "autocast.precision")
    message = Message(entity=entity, action=action, timestamp=datetime.now(UTC), data=data)
    return event_of(Delivery(uuid.uuid4(), message), ConversionRequest(f"models:/resnet/{version}", spec))


def send(each):
    """Sends an event as a bridge of its own does."""
    user, _, password = os.environ["PREFECT_API_AUTH_STRING"].partition(":")
    settings = BridgeSettings(os.environ["PREFECT_API_URL"], "http://none", ("",), prefect_auth=(user, password))

    async def sent():
        servers = Servers(settings)
        try:
            await servers.send(each)
        finally:
            await servers.close()

    asyncio.run(sent())


def started(deployment, last):
    """The precisions of the runs that were started, once there is one of the precision `last`."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId

    deadline = time.monotonic() + 20
    with get_client(sync_client=True) as client:
        while True:
            runs = client.read_flow_runs(deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[deployment])))
            found = sorted(run.parameters["spec"]["precision"] for run in runs)
            if last in found or time.monotonic() > deadline:
                return found
            time.sleep(0.2)


def test_events_at_once_that_ask_for_the_same_start_one_run_and_another_request_one_more(deployment):
    version = uuid.uuid4().hex[:8]
    same = [event(version, action, precision="fp16") for action in ("created", "set")]
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(send, same))
    assert started(deployment, "fp16") == ["fp16"]
    # Prefect looks at events in their order: once this one has its run, the others were looked at.
    send(event(version, "set", precision="bf16"))
    assert started(deployment, "bf16") == ["bf16", "fp16"]
