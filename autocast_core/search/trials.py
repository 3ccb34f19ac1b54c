"""What has been measured, one line of JSON each, so that an interrupted search goes on where it stood."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from autocast_core.errors import OutputError
from autocast_core.json_values import lossless

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trial:
    """One evaluation: the candidates kept in FP32 (sorted), and its metrics under the names that gates know.

    `number` counts from 1 within its search. `error` says why a runtime could not run the model.
    """

    number: int
    kept: tuple[str, ...]
    metrics: Mapping[str, float]
    error: str | None = None


class TrialStore(Protocol):
    """Remembers evaluations across processes, by a key that says what was measured on what."""

    def get(self, key: str) -> Any | None:
        """The value of `key`, or None."""
        ...

    def put(self, key: str, value: Any) -> None:
        """Remember a value of plain JSON types."""
        ...


class MemoryTrials:
    """Remembers until the process ends."""

    def __init__(self) -> None:
        self._values: dict[str, Any] = {}

    def get(self, key: str) -> Any | None:
        return self._values.get(key)

    def put(self, key: str, value: Any) -> None:
        self._values[key] = value


class FileTrials:
    """Remembers in the file `path`, one line a value; a line that a crash cut short is not read. OutputError where the
    file cannot be written or read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._values: dict[str, Any] = {}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        except (OSError, UnicodeDecodeError) as error:
            raise OutputError(f"{path}: the trials cannot be kept there: {error}; give another folder") from error
        for line in lines:
            try:
                entry = json.loads(line)
                self._values[entry["key"]] = entry["value"]
            except (ValueError, KeyError, TypeError):
                _LOG.warning("%s: skipping a malformed line", path)

    def get(self, key: str) -> Any | None:
        return self._values.get(key)

    def put(self, key: str, value: Any) -> None:
        self._values[key] = value
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"key": key, "value": value}, sort_keys=True) + "\n")
        except OSError as error:
            raise OutputError(f"{self._path}: the trial cannot be written: {error}; free some space") from error


def encoded(metrics: Mapping[str, float]) -> dict[str, float | str]:
    """Metrics as plain JSON, in which NaN and infinity are texts."""
    return {name: lossless(value) for name, value in metrics.items()}


def decoded(raw: Mapping[str, float | str]) -> dict[str, float]:
    """What `encoded` encoded."""
    return {name: float(value) for name, value in raw.items()}


TrialListener = Callable[[Trial], None]


def no_listener(_: Trial) -> None:
    """Ignores the trial."""


def trial_key(context: str, kept: Iterable[str]) -> str:
    """The key of the plan that keeps `kept`, in a search on what `context` identifies."""
    return f"{context}:{json.dumps(sorted(kept), separators=(',', ':'))}"
