"""Data without NaN and infinity: what is measured on others says nothing."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from autocast_core.errors import DataError


def require_finite(feeds: Mapping[str, np.ndarray], where: str) -> None:
    """DataError where an array of `feeds` holds NaN or infinity; names `where`, the input and the first of them."""
    found = nonfinite_input(feeds)
    if found is not None:
        raise DataError(f"{where}: {found}; repair the data, or set allow_nonfinite: true in the spec")


def nonfinite_input(feeds: Mapping[str, np.ndarray]) -> str | None:
    """The first input that holds NaN or infinity, how many, and the index of the first; None where none does."""
    for name, array in feeds.items():
        if array.dtype.kind in "iubOUS":
            continue
        finite = np.isfinite(array)
        if not finite.all():
            first = [int(index) for index in np.argwhere(~finite)[0]]
            count = int(finite.size - np.count_nonzero(finite))
            return f"input {name!r} holds {count:,} NaN or infinite values, the first at {first}"
    return None
