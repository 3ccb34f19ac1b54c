r"""Text for people: counts with their nouns, and foreign text made safe to print, since messages of libraries and names
in models may hold line ends, terminal escapes or ten thousand letters."""

from __future__ import annotations

import unicodedata

_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode's general categories of control, format, surrogate, private and unassigned characters, and line ends."""


def how_many(count: int, one: str, many: str | None = None) -> str:
    """A count with its noun: ``1 node``, ``1,234 nodes``; `many` where the plural is not `one` with an s."""
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"


def visible(text: str, limit: int = 200) -> str:
    r"""`text` with invisible characters (control, format, surrogates) written as ``\n``, ``\x1b``, ``\u202e``.

    A text of more than `limit` characters is cut in the middle and says how many there were.
    """
    if len(text) > limit:
        half = limit // 2
        text = f"{text[:half]}…{text[-half:]} ({len(text):,} characters)"
    return escaped(text)


def escaped(text: str) -> str:
    r"""`text` with invisible characters written as ``\n``, ``\x1b``, ``\u202e``, whatever its length."""
    if text.isprintable():
        return text
    return "".join(_escape(letter) if unicodedata.category(letter) in _INVISIBLE else letter for letter in text)


def one_line(message: BaseException | str, limit: int | None = None) -> str:
    """A message on one line, spaces joined and invisible characters written out; cut at `limit` characters.

    An exception without a message is its class's name.
    """
    text = escaped(" ".join(str(message).split()))
    if not text and isinstance(message, BaseException):
        text = type(message).__name__
    return text if limit is None or len(text) <= limit else text[: limit - 1] + "…"


def _escape(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
