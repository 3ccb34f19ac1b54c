"""Approval in Prefect: the flow waits for a person's answer, and the gated promotion decides."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest

from tests.flows.conversions import batches, client, convert, mlp, working_in

pytestmark = pytest.mark.xdist_group("prefect")
NAME, URI = "paused", "models:/paused/1"


@pytest.fixture(scope="module")
def run_id(services, tmp_path_factory):
    """A conversion that passes its gate."""
    folder = tmp_path_factory.mktemp("paused")
    with working_in(folder):
        data = batches(folder / "data.npz")
        yield convert(mlp(folder / "net.onnx"), calibration=data, gates=("rel_l2<=5e-3",), name=NAME).run_id


@pytest.fixture(autouse=True)
def allowed(monkeypatch):
    monkeypatch.setenv("AUTOCAST_APPROVAL_ALIASES", "champion")


def answered(answer: dict[str, Any]) -> str:
    """Resumes the paused review with the answer; what its form showed."""
    from httpx import HTTPStatusError
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter
    from prefect.flow_runs import resume_flow_run

    paused = FlowRunFilter.model_validate({"state": {"type": {"any_": ["PAUSED"]}}})
    with get_client(sync_client=True) as prefect:
        for _ in range(300):
            for found in prefect.read_flow_runs(flow_run_filter=paused):
                keyset = found.state.state_details.run_input_keyset
                # A run pauses first and saves its form then.
                with suppress(HTTPStatusError):
                    shown = prefect.read_flow_run_input(found.id, keyset["description"])
                    resume_flow_run(found.id, run_input=answer)
                    return str(shown)
            time.sleep(0.1)
    raise TimeoutError("the review did not pause")


def review(answer: dict[str, Any]):
    """The state in which the review ends, and what its form showed."""
    from flows.review_version import review_version

    with ThreadPoolExecutor(1) as pool:
        person = pool.submit(answered, answer)
        state = review_version(URI, hours=0.05, return_state=True)
        return state, person.result()


def aliases():
    return client().get_registered_model(NAME).aliases


def test_a_version_that_a_person_approves_gets_the_alias(workplace, run_id):
    state, shown = review({"approve": True, "alias": "champion"})
    assert (state.name, str(aliases()["champion"])) == ("Completed", "1")
    assert "Passes its gate." in shown
    assert client().get_model_version(NAME, "1").tags["autocast.approval"] == "approved"


def test_an_approval_of_a_version_that_fails_its_gates_is_refused_with_the_reason_in_both_places(workplace, run_id):
    client().delete_registered_model_alias(NAME, "champion")
    measured = client().get_run(run_id).data.metrics["fidelity/rel_l2"]
    client().log_metric(run_id, "fidelity/rel_l2", 0.5)
    try:
        state, _ = review({"approve": True, "alias": "champion"})
    finally:
        client().log_metric(run_id, "fidelity/rel_l2", measured)
    assert state.name == "Refused" and "fidelity/rel_l2 is 0.5" in state.message
    assert "fidelity/rel_l2 is 0.5" in client().get_model_version(NAME, "1").tags["autocast.approval_reason"]
    assert "champion" not in aliases()


def test_a_version_that_nobody_approves_stays_as_it_is(workplace, run_id):
    before = client().get_model_version(NAME, "1").description
    assert review({"approve": False})[0].name == "Skipped"
    assert client().get_model_version(NAME, "1").description == before and "champion" not in aliases()
