"""Makes names from models safe to show: they may hold quotes, markup, control characters or ten thousand letters."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from autocast_core.text import visible

_MARKDOWN = str.maketrans({character: f"&#{ord(character)};" for character in "&<>|\\`*[]!#~$@"} | {"_": "\\_"})
_UNITS = ("B", "kB", "MB", "GB", "TB")


def markdown(text: str, limit: int = 120) -> str:
    """`text` as plain words of a Markdown table cell: nothing in it is markup, a link or a cell border."""
    return visible(text, limit).translate(_MARKDOWN).replace("://", "&#58;//").replace("www.", "www&#46;")


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table of cells that are already safe."""
    header = list(header)
    lines = [header, ["---"] * len(header), *(list(row) for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def number(value: float | None) -> str:
    """Four significant digits (eight just below 1, for cosines), thousands separated; a dash for None and NaN."""
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if float(value).is_integer() and abs(value) < 1e9:
        return f"{int(value):,}"
    if 0.99 < abs(value) < 1:
        return f"{value:.8g}"
    return f"{value:,.4g}" if 1e-3 <= abs(value) < 1e6 else f"{value:.4g}"


def relative_change(before: float, after: float, digits: int = 0) -> str:
    """How much smaller or larger, in per cent with a sign: ``−49%``; ``±0%`` where rounding leaves nothing, empty where
    `before` is 0 or one of both is not finite."""
    if not before or not math.isfinite(before) or not math.isfinite(after):
        return ""
    change = f"{after / before - 1:+.{digits}%}"
    return change.replace("-", "−") if any(figure in change for figure in "123456789") else "±0%"


def size(count: int) -> str:
    """Bytes in decimal units: 1,500,000 is ``1.50 MB``."""
    value, unit = float(count), 0
    while value >= 1000 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.2f} {_UNITS[unit]}" if unit else f"{count} B"


def shown(value: object) -> str:
    """A spec's or setting's value as text; a mapping or sequence as ``key=value, …``."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={shown(item)}" for key, item in value.items()) or "–"
    if isinstance(value, list | tuple):
        return ", ".join(shown(item) for item in value) or "–"
    return "–" if value is None or value == "" else str(value)
