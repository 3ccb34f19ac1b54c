"""In which states flow runs end, and what MLflow keeps of them."""

import logging

import pytest

from flows.request.fleet_file import FleetError, FleetModel
from flows.request.spec import Spec
from tests.flows.conversions import batches, client, mlp, runs_of

pytestmark = pytest.mark.xdist_group("prefect")


def ended(model, **options):
    """The state of a conversion, whatever it is."""
    from flows.convert_model import convert_model

    return convert_model(str(model), Spec(validation="off", **options), return_state=True)


def test_a_missed_gate_is_a_state_of_its_own_without_a_traceback(workplace, caplog):
    model, data = mlp(workplace / "m.onnx"), batches(workplace / "d.npz")
    with caplog.at_level(logging.INFO):
        state = ended(model, evaluation=str(data), gates=("rel_l2<=1e-12",), name="missed-state")
    assert (state.name, state.type.value) == ("GateMissed", "FAILED")
    assert state.message.startswith("gate missed: rel_l2<=1e-12 fidelity/rel_l2 is ")
    assert not state.state_details.retriable
    assert "Traceback" not in caplog.text and not any(record.exc_info for record in caplog.records)


def test_an_equal_conversion_is_reused_and_names_the_run_that_made_it(workplace):
    model, data = mlp(workplace / "m.onnx", seed=5), batches(workplace / "d.npz")
    options = {"evaluation": str(data), "name": "reused-state"}
    first = ended(model, **options)
    again = ended(model, **options)
    made, found = first.result(), again.result()
    assert (first.name, made.reused) == ("Completed", False)
    assert (again.name, again.type.value, found.reused) == ("Reused", "COMPLETED", True)
    assert found.run_id == made.run_id
    assert made.run_id in again.message
    assert [run.info.run_id for run in runs_of(str(model))] == [made.run_id]


def test_a_fleet_with_a_failure_fails_after_it_has_converted_the_others(workplace):
    from prefect.client.orchestration import get_client

    from flows.convert_fleet import convert_fleet

    spec = Spec(validation="off", allow_random=True)
    good, missing = str(mlp(workplace / "good.onnx", seed=6)), str(workplace / "missing.onnx")
    state = convert_fleet([FleetModel(model=missing, spec=spec), FleetModel(model=good, spec=spec)], return_state=True)
    assert (state.name, state.type.value) == ("Failed", "FAILED")
    with get_client(sync_client=True) as prefect:
        assert prefect.read_flow_run(state.state_details.flow_run_id).name == "missing and 1 more"
    assert state.message.startswith(f"1 of 2 models were not converted; the first: {missing}: ")
    error = state.result(raise_on_failure=False)
    assert isinstance(error, FleetError) and error.exit_code == 2
    assert [outcome.ok for outcome in error.result.outcomes] == [False, True]
    assert client().get_registered_model("good-fp16").name == "good-fp16"
