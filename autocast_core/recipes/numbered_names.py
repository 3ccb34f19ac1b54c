"""Names of nodes with their numbers left open: ``/layers.{n}/mlp/Mul`` for that node of every layer.

- `{n}` stands for a whole number; everything else is literal, and the whole name must match.
- Knows nothing of graphs: whether numbers count layers, the names that are to be kept apart tell.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from functools import cached_property

from autocast_core.errors import PlanError

NUMBER = "{n}"
_DIGITS = re.compile(r"\d+")
_UNCLEAR = re.compile(r"\{n\}(\{n\}|\d)|\d\{n\}")


class NumberedName:
    """A name with ``{n}`` for any whole number. PlanError where a digit or another ``{n}`` stands beside one."""

    def __init__(self, text: str) -> None:
        if _UNCLEAR.search(text):
            raise PlanError(f"name {text!r}: write no digit and no other {NUMBER} beside {NUMBER}")
        self.text = text

    @cached_property
    def _compiled(self) -> re.Pattern[str]:
        return re.compile(r"\d+".join(map(re.escape, self.text.split(NUMBER))))

    def matches(self, name: str) -> bool:
        """Whether the whole of `name` is of this form."""
        return self._compiled.fullmatch(name) is not None


def numbered_names(wanted: Iterable[str], others: Collection[str]) -> tuple[str, ...]:
    """Patterns that match all of `wanted` and none of `others`, as few as the numbers in the names allow.

    Names that differ in numbers alone become one pattern, in which only the numbers that differ are open. Where that
    would match one of the others, they are named one by one.
    """
    groups: dict[tuple[str, ...], list[str]] = {}
    for name in wanted:
        groups.setdefault(tuple(_DIGITS.split(name)), []).append(name)
    found: list[str] = []
    for parts, names in groups.items():
        pattern = _joined(parts, [_DIGITS.findall(name) for name in names])
        form = NumberedName(pattern)
        found += names if any(form.matches(other) for other in others) else [pattern]
    return tuple(found)


def _joined(parts: tuple[str, ...], numbers: list[list[str]]) -> str:
    """The parts with the numbers between them, open where they differ."""
    columns = [set(column) for column in zip(*numbers, strict=True)]
    between = [next(iter(column)) if len(column) == 1 else NUMBER for column in columns]
    return "".join(f"{part}{number}" for part, number in zip(parts, [*between, ""], strict=True))
