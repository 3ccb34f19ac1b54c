"""A finished conversion whose servers do not answer waits with its files, or is said to be lost."""

import pytest

from autocast_core.errors import ServiceError
from flows.conversion.unpublished import LIMIT, UnpublishedError, is_published, unpublished
from tests.flows.conversions import batches, convert, mlp

GONE = ServiceError("tracking server http://mlflow does not answer")


def _folder(home, name, size):
    folder = home / name / "output"
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"x" * size)
    return folder.parent


def test_a_deployed_run_is_kept_and_says_who_publishes_it(tmp_path):
    folder = _folder(tmp_path, "a", 10)
    error = unpublished(folder, GONE, deployed=True, environment={})
    assert error.is_kept
    assert str(error) == (
        "the conversion is finished and waits to be published, which reconcile-registry does within a week: "
        "tracking server http://mlflow does not answer"
    )


def test_a_run_of_a_command_is_said_to_be_lost(tmp_path):
    error = unpublished(_folder(tmp_path, "a", 10), GONE, deployed=False)
    assert not error.is_kept
    assert str(error).startswith("the finished conversion is lost, as it cannot be recorded: tracking server")


def test_beyond_the_limit_of_all_that_wait_a_conversion_is_said_to_be_lost(tmp_path):
    environment = {LIMIT: "250"}
    first, second = (_folder(tmp_path, name, 100) for name in "ab")
    for folder in (first, second, second):  # whoever waits already is not counted twice
        assert unpublished(folder, GONE, deployed=True, environment=environment).is_kept
    third = _folder(tmp_path, "c", 100)
    refused = unpublished(third, GONE, deployed=True, environment=environment)
    assert not refused.is_kept
    assert "(200 bytes of others wait already, and AUTOCAST_UNPUBLISHED_BYTES is 250)" in str(refused)
    is_published(first)
    assert unpublished(third, GONE, deployed=True, environment=environment).is_kept


@pytest.mark.xdist_group("prefect")
def test_a_flow_whose_tracking_server_goes_when_all_is_done_ends_as_unpublished(workplace, monkeypatch):
    import flows.convert_model as module
    from flows.request.spec import Spec

    def gone(*_):
        raise GONE

    monkeypatch.setattr(module, "track_task", gone)
    model, data = mlp(workplace / "unlucky.onnx"), batches(workplace / "data.npz")
    with pytest.raises(UnpublishedError, match="the finished conversion is lost, as it cannot be recorded"):
        convert(model, calibration=data, validation="off")
    monkeypatch.setenv("PREFECT__RUNTIME__DEPLOYMENT__ID", "a deployment")
    monkeypatch.setenv("AUTOCAST_ISOLATION", "none")
    state = module.convert_model(str(model), Spec(calibration=str(data), validation="off"), return_state=True)
    assert (state.type.value, state.name) == ("FAILED", "Unpublished")
    assert "waits to be published" in state.message
