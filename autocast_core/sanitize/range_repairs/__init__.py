"""Exact repairs of range: what leaves FP16's range is computed in smaller numbers, with the same result in FP32.

`attention_scale` and `residual_scale` act only where calibration shows that a tensor leaves the range, and need no
further data: the statistics of what they change follow from those that are known. `masked_rows` is a pass of sanitize.
"""

from autocast_core.sanitize.range_repairs.masked_rows import STEP as MASKED_ROWS
from autocast_core.sanitize.range_repairs.masked_rows import keep_masked_rows
from autocast_core.sanitize.range_repairs.repair_ranges import (
    RANGE_STEPS,
    Repaired,
    find_range_repairs,
    repair_ranges_in_place,
)

__all__ = ["MASKED_ROWS", "RANGE_STEPS", "Repaired", "find_range_repairs", "keep_masked_rows", "repair_ranges_in_place"]
