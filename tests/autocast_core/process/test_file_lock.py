"""File locks exclude other holders and end with their process."""

import subprocess
import sys
import threading

import pytest

from autocast_core.process.file_lock import exclusive_lock, folder_lock, lock, lock_shared, try_lock

HOLDER = """
import sys
from pathlib import Path
from autocast_core.process.file_lock import exclusive_lock
with exclusive_lock(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""


def test_the_lock_of_a_killed_process_is_free(tmp_path):
    path = tmp_path / "lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "locked\n"
        with open(path, "rb") as file:
            assert not try_lock(file)
        holder.kill()
        holder.wait()
        with open(path, "rb") as file:
            assert try_lock(file)


@pytest.mark.parametrize(("taken", "name"), [(exclusive_lock, "lock"), (folder_lock, ".")], ids=["file", "folder"])
def test_a_second_thread_waits_until_the_first_leaves_its_block(tmp_path, taken, name):
    path, order = tmp_path / name, []

    def second():
        with taken(path):
            order.append("second")

    thread = threading.Thread(target=second)
    with taken(path):
        thread.start()
        thread.join(0.2)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_a_locked_folder_holds_no_file_of_the_lock(tmp_path):
    with folder_lock(tmp_path):
        assert list(tmp_path.iterdir()) == []


def test_a_lock_keeps_what_is_in_the_file(tmp_path):
    path = tmp_path / "lock"
    path.write_text("kept")
    with exclusive_lock(path):
        pass
    with open(path) as file:
        lock(file)
        assert file.read() == "kept"


def test_a_shared_lock_has_many_holders_and_becomes_exclusive_for_the_last(tmp_path):
    path = tmp_path / "lock"
    with open(path, "ab") as first:
        lock_shared(first)
        with open(path, "ab") as second:
            lock_shared(second)
            assert not try_lock(first)
        assert try_lock(first)
