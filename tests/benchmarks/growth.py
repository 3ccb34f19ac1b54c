"""How a cost grows: the exponent of a power law."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def exponent(sizes: Sequence[float], costs: Sequence[float], fixed: float = 0.0) -> float:
    """The slope of log(cost - fixed) over log(size) by least squares; `fixed` is what any size costs (imports)."""
    slope, _ = np.polyfit(np.log(sizes), np.log(np.maximum(np.asarray(costs) - fixed, 1e-3)), 1)
    return float(slope)
