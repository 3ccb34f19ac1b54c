"""Up to which magnitude the range rules let a tensor be of the low type."""

from __future__ import annotations

from autocast_core.config import OPTIONS, ConversionConfig, Precision


def range_limit(config: ConversionConfig, option: str) -> float:
    """The limit that `option`, ``data_max`` or ``init_max``, sets.

    AutoCast's defaults are made for FP16. By measurement BF16, which has FP32's exponents, is limited by its own
    largest number instead; a limit that differs from the default is the user's, and holds.
    """
    limit: float = getattr(config, option)
    if config.decide == "measured" and config.precision is Precision.BF16 and limit == OPTIONS[option].default:
        return config.precision.max
    return limit
