"""What a script sees on its terminal, where it has set up no logging itself."""

import subprocess
import sys

import pytest

PROGRAM = """
import logging, sys
import autocast_core
SETUP
model = autocast_core.convert_to_mixed_precision(sys.argv[1])
"""


def printed(path, setup=""):
    program = PROGRAM.replace("SETUP", setup)
    return subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=True)


@pytest.mark.parametrize(
    ("setup", "seen", "unseen"),
    [
        ("", [" - INFO - ", "Converted 3/5 nodes (60.00%) to fp16"], [" - DEBUG - "]),
        ("autocast_core.configure_logging()", ["Converted 3/5 nodes (60.00%) to fp16"], [" - DEBUG - "]),
        ("autocast_core.configure_logging('DEBUG')", [" - DEBUG - ", "graph/exp stays FP32: io_range"], []),
        ("autocast_core.configure_logging(logging.DEBUG)", [" - DEBUG - ", "graph/mm goes fp16: default"], []),
        ("autocast_core.configure_logging(level='WARNING')", [], ["Converted", " - INFO - "]),
        ("logging.basicConfig(stream=sys.stderr)", [], ["Converted"]),  # the program's own logging stays as it is
    ],
)
def test_the_log_is_on_standard_output_at_the_level_asked_for(saved, setup, seen, unseen):
    done = printed(saved(), setup)
    assert all(text in done.stdout for text in seen) and not any(text in done.stdout for text in unseen)
    assert done.stderr == ""


def test_the_summary_is_the_last_line_and_comes_once(saved):
    lines = printed(saved()).stdout.splitlines()
    assert lines[-1].endswith(" - Converted 3/5 nodes (60.00%) to fp16")
    assert sum("Converted" in line for line in lines) == 1


def test_a_log_file_gets_the_lines_too(saved, tmp_path):
    log = tmp_path / "logs" / "autocast.log"
    done = printed(saved(), f"autocast_core.configure_logging(log_file={str(log)!r})")
    assert log.read_text() == done.stdout
