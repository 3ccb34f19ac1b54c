import logging
import subprocess
import sys

import pytest

from autocast_core.errors import ConfigError
from autocast_core.process.log_setup import LOGGER, configure_logging, configure_logging_if_nobody_has


def test_lines_go_to_standard_output_with_the_fields_of_autocasts_log(capsys):
    configure_logging()
    LOGGER.info("Converted %d nodes", 3)
    LOGGER.debug("not shown")
    printed = capsys.readouterr()
    fields = printed.out.rstrip("\n").split(" - ")
    assert fields[1:] == ["autocast_core", "INFO", "test_log_setup.py", "Converted 3 nodes"]
    assert printed.err == ""


@pytest.mark.parametrize("level", ["DEBUG", logging.DEBUG])
def test_the_level_is_a_name_or_a_number(level, capsys):
    configure_logging(level)
    LOGGER.debug("shown")
    assert "DEBUG - test_log_setup.py - shown" in capsys.readouterr().out


def test_a_second_call_replaces_what_the_first_set_up(capsys):
    configure_logging("DEBUG")
    configure_logging("WARNING")
    LOGGER.info("hidden")
    LOGGER.warning("once")
    assert [line.rpartition(" - ")[2] for line in capsys.readouterr().out.splitlines()] == ["once"]


def test_handlers_of_others_stay():
    own = logging.NullHandler()
    LOGGER.addHandler(own)
    configure_logging()
    assert own in LOGGER.handlers


def test_a_log_file_gets_the_same_lines_in_a_folder_that_is_made(tmp_path, capsys):
    configure_logging(log_file=tmp_path / "logs" / "autocast.log")
    LOGGER.info("said")
    assert (tmp_path / "logs" / "autocast.log").read_text() == capsys.readouterr().out


def test_a_log_file_that_cannot_be_written_is_a_line_in_the_log(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    configure_logging(log_file=tmp_path / "file" / "autocast.log")
    (line,) = capsys.readouterr().out.splitlines()
    assert "WARNING" in line and "logging to standard output only" in line


def test_an_unknown_level_is_a_configuration_error():
    with pytest.raises(ConfigError, match="log level 'LOUD' is unknown: give DEBUG, INFO"):
        configure_logging("LOUD")


def test_nothing_is_set_up_where_the_program_logs_already(capsys):
    configure_logging_if_nobody_has()  # pytest's own handlers stand at the root
    assert LOGGER.handlers == []


def test_a_name_with_control_characters_stays_on_one_line(capsys):
    configure_logging()
    LOGGER.info("node %s", "a\nb\x1b[2J")
    (line,) = capsys.readouterr().out.splitlines()
    assert line.endswith(r" - node a\nb\x1b[2J")


def test_importing_the_package_sets_nothing_up():
    program = "import autocast_core; from autocast_core.process.log_setup import LOGGER; print(LOGGER.handlers)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
