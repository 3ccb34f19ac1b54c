"""A command on its way from one process to another."""

import os
import socket
from dataclasses import replace

import pytest

from flows.local.forks.handed import HandedCommand, is_from_this_user, read


@pytest.fixture
def ends():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_what_is_received_is_what_was_sent_with_its_streams(ends):
    ours, theirs = ends
    sent = replace(HandedCommand.of_this_process(), arguments=["autocast", "run", "größe.onnx"], umask=0o27)
    sent.send(ours)
    received, streams = HandedCommand.receive(theirs)
    try:
        assert replace(received, import_path=[]) == replace(sent, import_path=[])
        assert [os.fstat(each).st_ino for each in streams] == [os.fstat(each).st_ino for each in range(3)]
    finally:
        for each in streams:
            os.close(each)


def test_a_process_that_dies_while_it_hands_over_is_told(ends):
    ours, theirs = ends
    ours.sendall(b"abc")
    ours.close()
    with pytest.raises(EOFError):
        read(theirs, 4)


def test_another_users_process_gets_no_command(ends, monkeypatch):
    assert is_from_this_user(ends[0])
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    assert not is_from_this_user(ends[0])
