"""Progress in words."""

import io

from autocast_core.progress import Progress
from flows.cli.terminal.progress_bar import PlainLines, describe


def test_plain_lines_tell_begin_and_end_of_a_stage():
    stream, notes = io.StringIO(), {}
    lines = PlainLines(stream, notes)
    lines.begin("fetch")
    lines.update(Progress("fetch", 1, 2, "bytes"))
    lines.end("fetch", 1.25, failed=False)
    lines.begin("sanitize")
    lines.end("sanitize", 0.0, failed=True)
    lines.note("run_id", "abc")
    assert stream.getvalue().splitlines() == [
        "fetch ...",
        "fetch: done after 1.2 s",
        "sanitize ...",
        "sanitize: failed after 0.0 s",
    ]
    assert notes == {"run_id": "abc"}


def test_how_far_is_said_in_the_units_of_the_work():
    assert describe(Progress("fetch", 31e6, 438.2e6, "bytes")) == "31.0 of 438.2 MB"
    assert describe(Progress("evaluate", 12, 40, "batches")) == "12 of 40 batches"
    assert describe(Progress("calibrate", 3)) == "3"
