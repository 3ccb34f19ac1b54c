"""Sums in the fields of a dataclass, and how those of two parts of the data are added."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, field, fields
from operator import iadd
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_JOIN = "join"
_Number = TypeVar("_Number", int, float)


def largest(start: _Number) -> _Number:
    """A field of which the larger value stays."""
    return field(default=start, metadata={_JOIN: max})


def smallest(start: _Number) -> _Number:
    """A field of which the smaller value stays."""
    return field(default=start, metadata={_JOIN: min})


def merge_fields(ours: DataclassInstance, theirs: DataclassInstance) -> None:
    """Adds the fields of `theirs` to those of `ours`, a dataclass of the same type.

    Numbers and lists are added, of flags one is enough, and what has a method `merge` is merged. A field without a
    default is an option, which both have alike.
    """
    for each in fields(ours):
        if each.default is MISSING and each.default_factory is MISSING:
            continue
        left, right = getattr(ours, each.name), getattr(theirs, each.name)
        if hasattr(left, "merge"):
            left.merge(right)
        else:
            join: Callable[[Any, Any], Any] = each.metadata.get(_JOIN, max if isinstance(left, bool) else iadd)
            setattr(ours, each.name, join(left, right))
