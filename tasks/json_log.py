"""Log lines as JSON objects, one a line, for collectors: time (UTC), level, logger, message, and of which run.

With AUTOCAST_LOG_FORMAT=json; `standard`, the default, is text for people. Prefect's programs take the class by a
variable, see infra/docs/monitoring.md.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from autocast_core.errors import ConfigError

VARIABLE = "AUTOCAST_LOG_FORMAT"
_TEXT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
_OF_RUNS = ("flow_run_id", "flow_run_name", "task_run_id", "task_run_name")
"""What Prefect adds to the records of its run loggers."""


class JsonLines(logging.Formatter):
    """A record as one JSON object. Takes and leaves what logging's configuration gives every formatter."""

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__()

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: str(value) for name in _OF_RUNS if (value := getattr(record, name, None)) is not None}
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        # In ASCII: names in models may hold what no encoding writes.
        return json.dumps(line)


def formatter(environment: Mapping[str, str]) -> logging.Formatter:
    """What AUTOCAST_LOG_FORMAT asks for. ConfigError where it is neither `standard` nor `json`."""
    chosen = environment.get(VARIABLE) or "standard"
    if chosen not in ("standard", "json"):
        raise ConfigError(f"{VARIABLE} is {chosen!r}: give standard or json")
    return JsonLines() if chosen == "json" else logging.Formatter(_TEXT)
