"""A retried flow run continues where it failed."""

import functools
from collections import Counter
from importlib import import_module

import pytest

from tasks.stages.conversion import TASKS
from tests.flows.conversions import batches, convert, mlp, registered, runs_of

pytestmark = pytest.mark.xdist_group("prefect")

STAGES = {
    # Where each stage's task is: None for those of the pipeline, which are made in a loop.
    "begin-tracking": "track.begin_task",
    "fetch": "fetch.fetch_model_task",
    "sanitize": None,
    "calibrate": None,
    "decide": None,
    "apply": None,
    "verify": None,
    "evaluate": None,
    "explain": None,
    "validate": "validate_task",
    "track": "track_task",
    "log-model": "track.log_model_task",
    "publish": "publish_task",
    "register": "track.register_task",
}


@pytest.fixture
def executions(monkeypatch):
    """How often each stage's function was called; each fails the first time, as if its process had been killed."""
    counts = Counter()

    def counted(name, function):
        @functools.wraps(function)
        def call(*arguments, **options):
            counts[name] += 1
            if counts[name] == 1:
                raise RuntimeError(f"{name} is killed")
            return function(*arguments, **options)

        return call

    for name, place in STAGES.items():
        if place is None:
            task = TASKS[name]
        else:
            module, _, attribute = place.rpartition(".")
            task = getattr(import_module(f"tasks.stages.{module or name}"), attribute)
        monkeypatch.setattr(task, "fn", counted(name, task.fn))
    return counts


def test_each_stage_is_killed_once_and_no_stage_that_was_done_is_done_again(workplace, executions):
    from flows.convert_model import convert_model
    from flows.request.spec import Spec

    flow = convert_model.with_options(retries=len(STAGES), retry_delay_seconds=0)
    model = mlp(workplace / "restarted.onnx")
    data = str(batches(workplace / "data.npz"))
    output = str(workplace / "out")
    result = flow(str(model), Spec(calibration=data, evaluation=data, output=output, validation="off"))
    # What was published before registering failed was taken back, and published again.
    assert executions == dict.fromkeys(STAGES, 2) | {"publish": 3}
    (run,) = runs_of(model)
    assert (run.info.run_id, run.info.status) == (result.run_id, "FINISHED")
    assert "autocast.failure" not in run.data.tags
    assert len(registered("restarted-fp16")) == 1


def test_what_was_published_is_taken_back_when_registering_fails(workplace, monkeypatch):
    from tasks.stages.track import register_task

    def refuse(*_, **__):
        raise RuntimeError("the registry is gone")

    monkeypatch.setattr(register_task, "fn", refuse)
    model = mlp(workplace / "unregistered.onnx")
    with pytest.raises(RuntimeError, match="the registry is gone"):
        convert(model, allow_random=True, output=workplace / "out", validation="off")
    assert list((workplace / "out").iterdir()) == []
    assert runs_of(model)[0].info.status == "FAILED"
