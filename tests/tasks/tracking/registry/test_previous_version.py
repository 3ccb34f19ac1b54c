"""The version before, as far as its run can still be read."""

import json
import logging
from types import SimpleNamespace

import pytest

from autocast_core.config import Precision
from autocast_core.plan import PrecisionPlan
from tasks.tracking.registry import previous_version as module
from tasks.tracking.registry.previous_version import previous_version

PLAN = PrecisionPlan(Precision.FP16, "5" * 64, "6" * 64, ())
RESULT = {"gates": [{"expression": "rel_l2<=1", "value": 0.5, "passed": True, "reason": ""}]}


def version(number, run_id, **tags):
    return SimpleNamespace(version=str(number), run_id=run_id, tags=tags)


@pytest.fixture
def run(monkeypatch, tmp_path):
    """A run whose store has the given `versions` of every model, newest first, and the artifacts of one run."""
    (tmp_path / "plan.json").write_text(PLAN.to_json())
    (tmp_path / "result.json").write_text(json.dumps(RESULT))
    monkeypatch.setattr(module, "run_file", lambda client, run_id, path, folder: tmp_path / path)
    made = SimpleNamespace(run_id="this", tracking_uri="sqlite://", versions=[], asked=[])
    client = SimpleNamespace(
        search_model_versions=lambda text, **_: made.asked.append(text) or made.versions,
        get_run=lambda run_id: SimpleNamespace(data=SimpleNamespace(metrics={"of": len(run_id)})),
    )
    made.client = lambda: client
    return made


def test_the_newest_version_of_another_conversion_is_read(run):
    ours = {"autocast.output_sha256": "0"}
    run.versions = [
        version(4, "this", **ours),
        version(3, "somebody's"),
        version(2, "before", **ours),
        version(1, "older", **ours),
    ]
    found = previous_version(run, "net")
    assert (found.version, found.metrics, found.gates, found.plan) == (
        "models:/net/2",
        {"of": 6},
        {"rel_l2<=1": 0.5},
        PLAN,
    )


def test_without_one_there_is_none(run):
    assert previous_version(run, "net") is None


def test_a_name_with_a_quotation_mark_is_asked_for_in_the_other(run):
    previous_version(run, "it's")
    assert run.asked == ['name="it\'s"']


@pytest.mark.parametrize("text", ["{", '{"gates": [{}]}', "[]"])
def test_what_cannot_be_read_is_a_warning_and_no_failure(run, caplog, tmp_path, text):
    (tmp_path / "result.json").write_text(text)
    run.versions = [version(1, "before", **{"autocast.output_sha256": "0"})]
    with caplog.at_level(logging.WARNING):
        assert previous_version(run, "net") is None
    assert "net is not compared with the version before" in caplog.text
