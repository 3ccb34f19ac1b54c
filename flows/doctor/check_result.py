"""What a check of the doctor came to, and what checks are given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from autocast_core.errors import AutocastError
from autocast_core.text import one_line
from flows.local.home import Home


class CheckState(StrEnum):
    """How bad it is: with a warning everything works, or whatever does not was not asked for."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True)
class CheckResult:
    """One line of the doctor: what was looked at, what was found and, unless all is well, what fixes it."""

    name: str
    state: CheckState
    what: str
    remedy: str | None = None

    def to_json(self) -> dict[str, str | None]:
        """The fields by their names."""
        return {"name": self.name, "state": self.state.value, "what": self.what, "remedy": self.remedy}


Results = tuple[CheckResult, ...]


@dataclass(frozen=True)
class Surroundings:
    """What checks look at. `timeout` in seconds, of each step of a request; `buckets` are names or s3:// locations."""

    environment: Mapping[str, str] = field(repr=False)
    home: Home
    cache: Path
    buckets: tuple[str, ...] = ()
    timeout: float = 3.0


HealthCheck = Callable[[Surroundings], Results]
"""Looks at one thing, without changing it. What it raises beyond its results is a bug in AutoCast Flow."""


def well(name: str, what: str) -> CheckResult:
    """There is nothing to fix."""
    return CheckResult(name, CheckState.OK, what)


def warning(name: str, what: str, remedy: str) -> CheckResult:
    """Something that may matter."""
    return CheckResult(name, CheckState.WARNING, what, remedy)


def problem(name: str, what: str, remedy: str) -> CheckResult:
    """Something to fix."""
    return CheckResult(name, CheckState.PROBLEM, what, remedy)


def problem_of(name: str, error: AutocastError, remedy: str | None = None) -> CheckResult:
    """An error of this project as a problem. Without `remedy` it is what the message ends with: "what; remedy", or
    "what: remedy"."""
    text = one_line(error)
    if remedy is not None:
        return problem(name, text.partition("; ")[0], remedy)
    for separator in ("; ", ": "):
        what, found, rest = text.partition(separator) if separator == "; " else text.rpartition(separator)
        if found:
            return problem(name, what, rest)
    return problem(name, text, "see infra/docs/settings.md")
