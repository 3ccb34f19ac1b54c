"""Whether a conversion gained what it is for: a smaller model."""

from __future__ import annotations

_MOSTLY_STRUCTURE = 1 << 16
"""Bytes of a model up to which its nodes and names are most of it."""

_NO_SMALLER = 0.98
"""Share of its bytes from which on a model counts as no smaller."""


def no_gain(before: int, after: int, casts: int) -> str | None:
    """One line where a model of `before` bytes became larger, or no smaller, for all the `casts` it got; else None.

    Nothing is said of models up to 64 KiB, whose weights are a small part of them, nor where no Cast was inserted: what
    lowers nothing warns of that.
    """
    if not casts or before <= _MOSTLY_STRUCTURE or after < _NO_SMALLER * before:
        return None
    what = "larger" if after > before else "no smaller"
    return (
        f"the converted model is {what} than its source, {after:,} bytes in place of {before:,}, with {casts:,} Casts"
        f" inserted: weigh it against its speed, or keep the source"
    )
