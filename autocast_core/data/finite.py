"""Data without NaN and infinity: what is measured on others says nothing."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from autocast_core.errors import DataError


def require_finite(feeds: Mapping[str, np.ndarray], where: str) -> None:
    """DataError where an array of `feeds` holds NaN or infinity; names `where`, the input and the first of them."""
    for name, array in feeds.items():
        if array.dtype.kind in "iubOUS":
            continue
        finite = np.isfinite(array)
        if not finite.all():
            first = [int(index) for index in np.argwhere(~finite)[0]]
            raise DataError(
                f"{where}: input {name!r} holds {int(finite.size - np.count_nonzero(finite)):,} NaN or infinite values,"
                f" the first at {first}; repair the data, or set allow_nonfinite: true in the spec"
            )
