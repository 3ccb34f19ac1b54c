"""Plain values for JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def without_infinity(value: Any) -> Any:
    """`value` with every float that JSON has no word for replaced by None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): without_infinity(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_infinity(item) for item in value]
    return value
