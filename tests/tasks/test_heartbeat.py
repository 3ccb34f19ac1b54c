"""A heartbeat goes on within its block, whatever one beat comes to, and ends with it."""

import threading
from contextvars import ContextVar

from tasks.heartbeat import heartbeat

WHERE = ContextVar("where", default="elsewhere")


def test_a_beat_that_fails_is_logged_and_the_next_is_tried(caplog):
    beats, third = [], threading.Event()

    def beat():
        beats.append(WHERE.get())
        if len(beats) == 1:
            raise ConnectionError("away")
        if len(beats) == 3:
            third.set()

    token = WHERE.set("the caller's context")
    try:
        with heartbeat(beat, 0.01, "lock of a test"):
            assert third.wait(30)
    finally:
        WHERE.reset(token)
    assert set(beats) == {"the caller's context"}
    assert caplog.messages == ["lock of a test: heartbeat failed (ConnectionError)"]


def test_its_thread_ends_with_the_block():
    threads, beaten = [], threading.Event()

    def beat():
        threads.append(threading.current_thread())
        beaten.set()

    with heartbeat(beat, 0.01, "lock of a test"):
        assert beaten.wait(30)
    assert threads[0] is not threading.current_thread()
    assert not threads[0].is_alive()
