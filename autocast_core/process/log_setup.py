"""Where the converter's log lines go: as AutoCast's, to standard output, with time, logger, level and file.

Only the command, `configure_logging` and AutoCast's functions set this up; whoever calls `convert_file` decides alone.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

from autocast_core.errors import ConfigError
from autocast_core.text import visible

LOGGER = logging.getLogger("autocast_core")
_FORMAT = "%(asctime)s - %(name)s - %(levelname)s - %(filename)s - %(message)s"
_LONGEST = 100_000


def configure_logging(level: str | int | None = None, log_file: str | Path | None = None) -> None:
    """Write log lines of at least `level` to standard output and, where it is given, to `log_file` too.

    `level` is a name or number of Python's logging; None: INFO. Replaces what an earlier call set up, and leaves other
    handlers alone. A file that cannot be opened is a warning in the log. ConfigError for an unknown level.
    """
    try:
        LOGGER.setLevel(logging.INFO if level is None else level)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"log level {level!r} is unknown: give DEBUG, INFO, WARNING, ERROR or CRITICAL") from error
    for handler in [each for each in LOGGER.handlers if isinstance(each, _Terminal | _LogFile)]:
        LOGGER.removeHandler(handler)
        handler.close()
    _add(_Terminal())
    if log_file is not None:
        try:
            Path(log_file).parent.mkdir(parents=True, exist_ok=True)
            _add(_LogFile(log_file))
        except OSError as error:
            LOGGER.warning("%s: cannot be written: %s: logging to standard output only", log_file, error.strerror)


def configure_logging_if_nobody_has() -> None:
    """`configure_logging`, unless the program has handlers of its own for the converter's lines."""
    if not LOGGER.hasHandlers():
        configure_logging()


def _add(handler: logging.Handler) -> None:
    handler.setFormatter(OneLineFormatter(_FORMAT))
    LOGGER.addHandler(handler)


class _Terminal(logging.StreamHandler[Any]):
    """Writes to what standard output is at that moment, which programs and tests redirect."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> Any:
        return sys.stdout


class _LogFile(logging.FileHandler):
    """The file that `configure_logging` was given."""


class OneLineFormatter(logging.Formatter):
    """Messages hold names from models: what would move the cursor or end the line is written as an escape."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        return visible(super().formatMessage(record), _LONGEST)
