"""Checks and what they find, as plain values."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autocast_core.lint.subject import Subject


class Level(enum.IntEnum):
    """How much a finding matters: `ERROR` gives wrong results or no engine, `WARNING` costs time or memory for no gain,
    `NOTE` is good to know."""

    NOTE = 0
    WARNING = 1
    ERROR = 2

    @property
    def word(self) -> str:
        """``note``, ``warning`` or ``error``."""
        return self.name.lower()


@dataclass(frozen=True)
class Spot:
    """A place where a check applies: the id of a node or the name of a tensor, and what is so there, in one line.

    `bytes` is what it costs a run, or a file, where that follows from shapes. `level` stands in place of the check's.
    """

    node: str
    detail: str
    bytes: int | None = None
    level: Level | None = None


@dataclass(frozen=True)
class Check:
    """One thing that the linter looks for.

    `code` is stable. `costs` says what such a finding costs, `remedy` the command or change that fixes it, each in one
    line; infra/docs/lint/CODE.md says more. `find` gives the places, and may raise ModelError where weights cannot be
    read. `needs_reference`: it compares with the FP32 original.
    """

    code: str
    title: str
    level: Level
    costs: str
    remedy: str
    find: Callable[[Subject], Iterator[Spot]]
    needs_reference: bool = False


@dataclass(frozen=True)
class LintFinding:
    """What a check found at one place."""

    code: str
    title: str
    level: Level
    node: str
    detail: str
    costs: str
    bytes: int | None
    remedy: str

    def to_json(self) -> dict[str, Any]:
        """The values by name; the level as a word."""
        return {
            "code": self.code,
            "level": self.level.word,
            "node": self.node,
            "title": self.title,
            "detail": self.detail,
            "costs": self.costs,
            "bytes": self.bytes,
            "remedy": self.remedy,
        }


def finding(check: Check, spot: Spot) -> LintFinding:
    """What `check` says of `spot`."""
    level = check.level if spot.level is None else spot.level
    return LintFinding(check.code, check.title, level, spot.node, spot.detail, check.costs, spot.bytes, check.remedy)
