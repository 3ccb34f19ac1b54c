"""Stages that read untrusted files run in a process with limits; its end is one line and never ends this process."""

import os
import time
from pathlib import Path

import pytest

from autocast_core.errors import ConfigError, ModelError
from autocast_core.progress import Progress
from tasks.isolation import ProcessLimits, StageBugError, StageDiedError, isolated, isolation
from tasks.progress import SilentListener, listening
from tests.tasks.isolation import misbehaving

LIMITS = ProcessLimits(memory_bytes=1 << 30, stage_seconds=60.0, file_bytes=1 << 20)
square = isolated(misbehaving.square, int)
pytestmark = pytest.mark.xdist_group("isolation")


@pytest.fixture(scope="module")
def limited():
    """One child process for all tests that leave it alive; it starts anew after the others."""
    with isolation(LIMITS):
        yield


def refused(function, *arguments, kind=StageDiedError, result=None):
    with pytest.raises(kind) as caught:
        isolated(function, result)(*arguments)
    assert "\n" not in str(caught.value)
    assert square(3) == 9  # the next stage has a process again
    return str(caught.value)


def test_without_isolation_a_call_is_a_call():
    assert isolated(misbehaving.process_id, int)() == os.getpid()


def test_a_stage_runs_in_another_process_which_serves_the_next_one_too(limited):
    first, second = (isolated(misbehaving.process_id, int)() for _ in range(2))
    assert first == second != os.getpid()


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (misbehaving.crash, "SIGSEGV"),
        (misbehaving.abort, "SIGABRT"),
        (misbehaving.leave, "ended with code 0"),
        (misbehaving.kill_itself, "was killed, probably for lack of memory"),
    ],
)
def test_a_crash_is_one_line_that_names_the_stage(limited, function, says):
    assert says in refused(function)
    assert refused(function).startswith(function.__name__)


def test_more_memory_than_allowed_is_refused_and_not_taken(limited):
    assert "1.0 GiB" in refused(misbehaving.allocate, 8 << 30)


def test_a_runaway_is_ended_with_everything_it_started(tmp_path):
    note = tmp_path / "pid"
    with isolation(ProcessLimits(1 << 30, 10.0, 1 << 20)), pytest.raises(StageDiedError, match="longer than 10 s"):
        isolated(misbehaving.spin_with_a_child, None)(str(note))
    started = int(note.read_text())
    deadline = time.monotonic() + 20
    while _lives(started) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _lives(started)


def _lives(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_file_beyond_the_limit_is_refused(limited, tmp_path):
    assert isolated(misbehaving.write, int)(str(tmp_path / "small"), 1 << 20) == 1 << 20
    message = refused(misbehaving.write, str(tmp_path / "large"), 2 << 20, kind=StageBugError)
    assert "File too large" in message
    assert (tmp_path / "large").stat().st_size <= 1 << 20


def test_no_credential_reaches_the_process(monkeypatch):
    for name in ("AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_PASSWORD", "PREFECT_API_KEY", "AUTOCAST_WEBHOOK_SECRET"):
        monkeypatch.setenv(name, "planted")
    with isolation(LIMITS):
        known = isolated(misbehaving.environment, dict[str, str])()
    assert "planted" not in known.values()
    assert known["HOME"] == known["TMPDIR"] != os.environ.get("HOME")
    assert not Path(known["HOME"]).exists()


def test_our_errors_come_back_as_they_are(limited):
    with pytest.raises(ModelError, match="a page, not a model: download it again") as caught:
        isolated(misbehaving.refuse, None)()
    assert type(caught.value) is ModelError


def test_any_other_exception_is_a_bug_of_autocast_flow(limited):
    assert refused(misbehaving.fail, kind=StageBugError) == "fail: ZeroDivisionError: a bug in a stage"


def test_a_result_of_another_type_is_rejected(limited):
    assert "invalid response" in refused(misbehaving.text, result=int)


def test_what_a_stage_prints_is_lost_and_what_it_reports_arrives(limited, caplog):
    class Listener(SilentListener):
        received: list[Progress] = []  # noqa: RUF012

        def update(self, progress):
            self.received.append(progress)

    with listening(Listener()), caplog.at_level("INFO", "autocast_core"):
        assert isolated(misbehaving.shout, int)() == 1
    assert Listener.received == [Progress("calibrate", 3, 3, "batches")]
    assert "look at this" in caplog.messages


@pytest.mark.parametrize("text", ["0", "-1", "lots", "nan", "inf"])
def test_a_limit_that_is_no_positive_number_is_named(text):
    with pytest.raises(ConfigError, match="AUTOCAST_ISOLATION_SECONDS"):
        ProcessLimits.from_environment({"AUTOCAST_ISOLATION_SECONDS": text})


def test_limits_are_the_operators():
    given = {"MEMORY_BYTES": "1e9", "SECONDS": "60", "FILE_BYTES": "1e6"}
    limits = ProcessLimits.from_environment({f"AUTOCAST_ISOLATION_{name}": value for name, value in given.items()})
    assert limits == ProcessLimits(10**9, 60.0, 10**6)


def test_messages_for_the_callback_arrive_and_restart_the_time_limit():
    received = []
    with isolation(ProcessLimits(1 << 30, 5.0, 1 << 20)):
        assert isolated(misbehaving.send_slowly, int, tuple[int, float])(3, 2.0, callback=received.append) == 3
        with pytest.raises(StageDiedError, match="longer than 5 s"):
            isolated(misbehaving.send_slowly, int, tuple[int, float])(1, 60.0, callback=received.append)
    assert [number for number, _ in received] == [0, 1, 2]
    assert all(value != value for _, value in received)


def test_a_message_of_another_type_is_rejected(limited):
    with pytest.raises(StageDiedError, match="invalid response"):
        isolated(misbehaving.send_slowly, int, str)(1, 0.0, callback=print)
    assert square(3) == 9


def test_an_error_in_the_callback_ends_the_call(limited):
    def refuse(_):
        raise ConfigError("the tracking server does not want it")

    with pytest.raises(ConfigError, match="does not want it"):
        isolated(misbehaving.send_slowly, int, tuple[int, float])(1, 0.0, callback=refuse)
    assert square(3) == 9


def test_a_name_that_mentions_memory_is_not_a_lack_of_memory(limited):
    with pytest.raises(ModelError, match="tensor 'bad_alloc' is not there"):
        isolated(misbehaving.refuse_by_name, None)("bad_alloc")
    for words in ("std::bad_alloc", "Failed to allocate memory for requested buffer of size 9"):
        with pytest.raises(StageDiedError, match="needs more than the"):
            isolated(misbehaving.native_want, None)(words)
