"""Which processes a fork of another may stand for."""

import subprocess
import sys

import pytest

from flows.local.forks.alike import process_key

BASE = {"HOME": "/home/a", "PREFECT_HOME": "/p", "LANG": "C"}


def test_variables_that_a_fork_gets_anew_do_not_tell_processes_apart():
    assert process_key(BASE) == process_key({**BASE, "TERM": "xterm", "AWS_PROFILE": "b"})


def test_the_address_of_the_server_that_the_command_found_does_not_tell_processes_apart():
    assert process_key(BASE) == process_key({**BASE, "PREFECT_API_URL": "u", "PREFECT_API_AUTH_STRING": "p"})


@pytest.mark.parametrize("name", ["PREFECT_HOME", "HOME", "LANG", "OMP_NUM_THREADS", "PYTHONPATH"])
def test_variables_that_are_read_once_tell_processes_apart(name):
    assert process_key(BASE) != process_key({**BASE, name: "other"})


@pytest.mark.parametrize(
    "change",
    [
        "os.nice(1)",
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))",
        "ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)",
    ],
    ids=["niceness", "a limit", "no new privileges"],
)
def test_what_a_child_would_inherit_tells_processes_apart(change):
    program = (
        "import ctypes, os, resource\nfrom flows.local.forks.alike import process_key\n"
        f"before = process_key({{}})\n{change}\nprint(before != process_key({{}}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "True\n", done.stderr
