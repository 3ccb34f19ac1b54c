"""How child processes are started and how their end is described."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import autocast_core
from autocast_core.process.child import ending, last_line, module_command, was_killed, with_package_path


def test_a_child_finds_the_same_package_and_nothing_in_the_current_folder(tmp_path):
    (tmp_path / "autocast_core").mkdir()
    (tmp_path / "autocast_core" / "__init__.py").write_text("raise SystemExit('the current folder was searched')")
    command = module_command("autocast_core", "--help")
    done = subprocess.run(command, cwd=tmp_path, env=with_package_path(os.environ), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--onnx_path" in done.stdout


def test_the_package_path_comes_before_the_users_own():
    root = str(Path(autocast_core.__file__).parents[1])
    assert with_package_path({"PYTHONPATH": "/own", "LANG": "C"}) == {
        "PYTHONPATH": f"{root}{os.pathsep}/own",
        "LANG": "C",
    }
    assert with_package_path({})["PYTHONPATH"] == root


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("import os; os.kill(os.getpid(), 9)", "was killed, probably for lack of memory"),
        ("import os; os.kill(os.getpid(), 11)", "crashed (SIGSEGV)"),
        ("raise SystemExit(3)", "ended with code 3"),
    ],
)
def test_the_end_of_a_process_is_described(program, said):
    code = subprocess.run([sys.executable, "-c", program]).returncode
    assert ending(code) == said
    assert was_killed(code) == ("killed" in said)


@pytest.mark.parametrize(
    ("written", "line"),
    [(b"", ""), (b"one\ntwo\n\n", "two"), (b"\x1b[31mred\xff\n", "[31mred\ufffd"), (b"x" * 5000, "x" * 200)],
    ids=["nothing", "lines", "escapes", "long"],
)
def test_the_last_line_is_printable_and_short(tmp_path, written, line):
    (tmp_path / "stderr").write_bytes(written)
    assert last_line(tmp_path / "stderr") == line


def test_a_file_that_is_gone_has_no_last_line(tmp_path):
    assert last_line(tmp_path / "stderr") == ""
