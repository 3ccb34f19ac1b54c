"""Hostile model files: one line of refusal, or a conversion; never the end of the process that reads them."""

import resource

import pytest

from autocast_core.config import ConversionConfig
from autocast_core.errors import AutocastError
from autocast_core.pipeline.saved import JobRequest
from tasks.isolation import ProcessLimits, StageBugError, isolation
from tasks.stages.conversion import ISOLATED
from tasks.storage.models import fetch_model
from tests.security import hostile_models

pytestmark = [pytest.mark.security, pytest.mark.xdist_group("hostile")]
LIMITS = ProcessLimits(memory_bytes=3 << 29, stage_seconds=5.0, file_bytes=1 << 30)


@pytest.fixture(scope="module")
def limited():
    with isolation(LIMITS):
        yield


def outcome(path, work):
    """What the first stages say to the file."""
    try:
        source = fetch_model(str(path)).ref
        request = JobRequest(source, ConversionConfig(), work)
        sanitized = ISOLATED["sanitize"]("sanitize", request, (source,))
        statistics = ISOLATED["calibrate"]("calibrate", request, (sanitized,))
        return ISOLATED["decide"]("decide", request, (sanitized, statistics)).summary
    except AutocastError as error:
        assert not isinstance(error, StageBugError), error
        assert "\n" not in str(error) and len(str(error)) < 1000
        return str(error)


@pytest.mark.parametrize("location", hostile_models.EXTERNAL)
def test_external_data_elsewhere_are_refused(limited, tmp_path, location, trial):
    said = outcome(hostile_models.EXTERNAL[location](tmp_path), tmp_path / "work")
    assert any(word in said for word in ("not inside", "outside", "not a regular file", "no location")), said
    trial(f"external data at {location!r}", 1, said[len(str(tmp_path)) :])


@pytest.mark.parametrize("write", (*hostile_models.OTHERS, *hostile_models.RUNAWAYS), ids=lambda write: write.__name__)
def test_a_hostile_model_ends_in_one_line(limited, tmp_path, write, trial, nightly):
    if write in hostile_models.RUNAWAYS[2:] and not nightly:
        pytest.skip("a runaway, ended by the limit: with --nightly")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    path = write(tmp_path)
    written = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    said = outcome(path, tmp_path / "work")
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - max(before, written)
    assert grown < 100 << 10, f"{grown} KiB in the process that asked"
    trial(f"model: {write.__name__.replace('_', ' ')}", 1, said.replace(str(tmp_path), ""))
