"""Exact repairs of range: what leaves FP16's range is computed in smaller numbers, with the same result in FP32.

They act only where calibration shows that a tensor leaves the range, and need no further data: the statistics of what
they change follow from those that are known.
"""

from autocast_core.sanitize.range_repairs.repair import (
    RANGE_STEPS,
    Repaired,
    find_range_repairs,
    repair_ranges_in_place,
)

__all__ = ["RANGE_STEPS", "Repaired", "find_range_repairs", "repair_ranges_in_place"]
