"""Log lines as JSON objects."""

import io
import json
import logging
import logging.config

import pytest

from autocast_core.errors import ConfigError
from tasks.json_log import JsonLines, formatter


@pytest.fixture
def stream():
    return io.StringIO()


@pytest.fixture
def log(stream):
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter({"AUTOCAST_LOG_FORMAT": "json"}))
    logger = logging.Logger("autocast.bridge")
    logger.addHandler(handler)
    return logger


def lines(stream):
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_one_object_with_its_time_level_logger_and_message(log, stream):
    log.warning("rejected a delivery with %s: %s", 401, "two\nlines \ud800")
    (line,) = lines(stream)
    assert line.pop("time").endswith("+00:00")
    message = "rejected a delivery with 401: two\nlines \ud800"
    assert line == {"level": "WARNING", "logger": "autocast.bridge", "message": message}


def test_an_exception_is_told_in_the_same_line(log, stream):
    try:
        1 / 0
    except ZeroDivisionError:
        log.exception("failed")
    (line,) = lines(stream)
    assert line["error"].endswith("ZeroDivisionError: division by zero")


def test_a_line_of_a_run_names_the_run(log, stream):
    log.info("converted", extra={"flow_run_id": "5d3f", "flow_run_name": "resnet/3 → fp16", "task_run_id": None})
    (line,) = lines(stream)
    assert (line["flow_run_id"], line["flow_run_name"]) == ("5d3f", "resnet/3 → fp16")
    assert "task_run_id" not in line


def test_prefects_programs_take_it_by_a_variable(monkeypatch):
    from prefect.logging import configuration

    monkeypatch.setenv("PREFECT_LOGGING_FORMATTERS_JSON_CLASS", "tasks.json_log.JsonLines")
    monkeypatch.setenv("PREFECT_LOGGING_HANDLERS_CONSOLE_FORMATTER", "json")
    config = configuration.load_logging_config(configuration.DEFAULT_LOGGING_SETTINGS_PATH)
    assert config["handlers"]["console"]["formatter"] == "json"
    made = logging.config.DictConfigurator(config).configure_formatter(config["formatters"]["json"])
    assert isinstance(made, JsonLines)


@pytest.mark.parametrize("environment", [{}, {"AUTOCAST_LOG_FORMAT": ""}, {"AUTOCAST_LOG_FORMAT": "standard"}])
def test_the_default_is_text(environment):
    record = logging.LogRecord("autocast.bridge", logging.INFO, "", 0, "started", None, None)
    assert formatter(environment).format(record).endswith("INFO    autocast.bridge: started")


def test_another_format_is_refused_with_those_that_there_are():
    with pytest.raises(ConfigError, match="AUTOCAST_LOG_FORMAT is 'xml': give standard or json"):
        formatter({"AUTOCAST_LOG_FORMAT": "xml"})
