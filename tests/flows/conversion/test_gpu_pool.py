"""What a conversion says of the GPU pool that it cannot use; a conversion that uses one is in tests/integration."""

from pathlib import Path

import pytest

from autocast_core.errors import ConfigError
from tests.flows.conversions import client, convert, mlp, registered

pytestmark = pytest.mark.xdist_group("prefect")
NAME = "validate-on-tensorrt/on-no-worker"


@pytest.fixture(scope="module")
def deployment(services):
    """A deployment on a work pool that has no worker."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate

    from flows.validate_on_tensorrt import validate_on_tensorrt

    with get_client(sync_client=True) as prefect:
        prefect.create_work_pool(WorkPoolCreate(name="no-worker", type="process"))
        flow_id = prefect.create_flow(validate_on_tensorrt)
        prefect.create_deployment(flow_id, "on-no-worker", work_pool_name="no-worker")
    return NAME


def skipped(result):
    """What the run's report says was not checked."""
    return Path(client().download_artifacts(result.run_id, "summary.md")).read_text(encoding="utf-8").replace("\\", "")


def test_without_a_pool_a_conversion_says_so_and_goes_on_where_validation_is_wished(workplace):
    result = convert(mlp(workplace / "wished.onnx"), allow_random=True)
    assert "no GPU pool is configured (AUTOCAST_GPU_DEPLOYMENT)" in skipped(result)
    assert len(registered("wished-fp16")) == 1


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({}, "AUTOCAST_STAGING is not set"),
        ({"AUTOCAST_STAGING": "staging", "AUTOCAST_GPU_DEPLOYMENT": "a/b"}, "the Prefect server has no deployment a/b"),
        ({"AUTOCAST_STAGING": "staging"}, "no worker of work pool no-worker is online"),
    ],
)
def test_a_pool_that_cannot_be_used_is_a_reason_where_validation_is_wished(
    workplace, deployment, monkeypatch, variables, reason
):
    for name, value in ({"AUTOCAST_GPU_DEPLOYMENT": deployment} | variables).items():
        monkeypatch.setenv(name, value)
    result = convert(mlp(workplace / "lonely.onnx", len(reason)), allow_random=True)
    assert reason in skipped(result)


def test_where_validation_is_required_a_pool_that_does_not_answer_fails_the_gate(workplace, deployment, monkeypatch):
    from flows.conversion.result import GateMissedError

    monkeypatch.setenv("AUTOCAST_GPU_DEPLOYMENT", deployment)
    monkeypatch.setenv("AUTOCAST_STAGING", str(workplace / "staging"))
    monkeypatch.setenv("AUTOCAST_GPU_WAIT_SECONDS", "1")
    with pytest.raises(GateMissedError, match=r"did not end within 1 s"):
        convert(mlp(workplace / "required.onnx"), allow_random=True, validation="required")
    assert registered("required-fp16") == []
    assert [each for each in (workplace / "staging").rglob("*") if each.is_file()] == []


def test_a_wait_that_is_no_number_is_named():
    from flows.conversion.gpu_pool_settings import gpu_pool

    with pytest.raises(ConfigError, match="AUTOCAST_GPU_WAIT_SECONDS is 'soon'"):
        gpu_pool({"AUTOCAST_GPU_DEPLOYMENT": "a/b", "AUTOCAST_GPU_WAIT_SECONDS": "soon"})
