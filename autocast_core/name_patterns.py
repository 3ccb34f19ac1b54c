"""Regular expressions that users and registry tags give for node names, matched within a time limit.

A pattern such as ``(a+)+$`` takes time exponential in the length of a name with Python's `re`, which cannot be
interrupted. The package `regex` reads the same syntax, needs no such time for most of them, and takes a time limit.
"""

from __future__ import annotations

import re
import time
from functools import cached_property
from typing import TYPE_CHECKING

from autocast_core.errors import ConfigError

if TYPE_CHECKING:
    import regex

SECONDS = 5.0
"""For all names of a model together: an ordinary pattern takes 20 ms for 20,000 names."""


def check_name_pattern(text: str) -> None:
    """ConfigError where `text` is not a regular expression of Python's `re`."""
    try:
        re.compile(text)
    except (re.error, RecursionError, OverflowError) as error:
        raise ConfigError(f"node name pattern {text!r} is not a valid regular expression: {error}") from error


class NamePattern:
    """A pattern, matched as `re.match` does: at the start of a name."""

    def __init__(self, text: str) -> None:
        check_name_pattern(text)
        self.text = text
        self._left = SECONDS

    @cached_property
    def _compiled(self) -> regex.Pattern[str]:
        import regex

        try:
            return regex.compile(self.text, regex.VERSION0)
        except regex.error as error:
            raise ConfigError(f"node name pattern {self.text!r} is not a valid regular expression: {error}") from error

    def matches(self, name: str) -> bool:
        """Whether the start of `name` matches. ConfigError where all names so far took longer than SECONDS."""
        started = time.monotonic()
        try:
            found = self._compiled.match(name, timeout=max(self._left, 1e-3))
        except TimeoutError as error:
            raise ConfigError(
                f"node name pattern {self.text!r} takes more than {SECONDS:g} s on the model's names, such as"
                f" {name[:80]!r}: write it without a repetition inside a repetition, as in (a|aa)+"
            ) from error
        self._left -= time.monotonic() - started
        return found is not None
