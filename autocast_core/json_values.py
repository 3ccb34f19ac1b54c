"""Floats in JSON, which has neither NaN nor infinity (RFC 8259, section 6)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def finite(value: Any) -> Any:
    """`value` with None for every float that is NaN or infinite, in mappings and sequences of any depth too.

    Keys become strings, tuples lists. For what is shown or logged: what is read back needs `lossless`.
    """
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value


def lossless(value: float) -> float | str:
    """`value`, or ``"inf"``, ``"-inf"``, ``"nan"``: float() reads either back."""
    return value if math.isfinite(value) else str(float(value))
