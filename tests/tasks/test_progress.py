"""Progress: stages announce themselves to whoever listens in their context."""

import pytest

from autocast_core.progress import Progress
from tasks.progress import listening, report, stage


class Ear:
    def __init__(self):
        self.heard = []

    def begin(self, stage):
        self.heard.append(("begin", stage))

    def update(self, progress):
        self.heard.append(("update", progress.done))

    def end(self, stage, seconds, failed):
        self.heard.append(("end", stage, failed))

    def note(self, key, value):
        self.heard.append(("note", key, value))


def test_a_listener_hears_a_stage_from_begin_to_end():
    ear, timings = Ear(), {}
    with listening(ear), stage("fetch", timings):
        report(Progress("fetch", 3))
    assert ear.heard == [("begin", "fetch"), ("update", 3), ("end", "fetch", False)]
    assert timings["fetch"] >= 0


def test_a_failing_stage_ends_as_failed_and_the_error_goes_on():
    ear = Ear()
    with listening(ear), pytest.raises(ValueError, match="no"), stage("fetch"):
        raise ValueError("no")
    assert ear.heard[-1] == ("end", "fetch", True)


def test_nobody_listens_outside():
    ear = Ear()
    with listening(ear):
        pass
    report(Progress("fetch", 1))
    assert ear.heard == []


def test_a_stage_in_two_parts_adds_up():
    timings = {"track": 1.0}
    with stage("track", timings):
        pass
    assert timings["track"] >= 1.0
