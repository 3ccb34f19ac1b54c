"""The precisions that a node may compute in; importing them loads neither numpy nor onnx_ir, asking for facts does."""

from __future__ import annotations

import enum
from functools import cache
from typing import TYPE_CHECKING

from autocast_core.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    import onnx_ir as ir

    from autocast_core.number_formats import NumberFormat


class Precision(enum.StrEnum):
    """A floating-point format of a node; ``NONE`` for a node that touches no float tensor."""

    FP32 = "fp32"
    FP16 = "fp16"
    BF16 = "bf16"
    NONE = "none"

    @property
    def is_low(self) -> bool:
        """Whether the format has 16 bits."""
        return self in (Precision.FP16, Precision.BF16)

    @property
    def dtype(self) -> ir.DataType:
        """The ONNX element type. KeyError for ``NONE``, which has none of these facts."""
        return _format(self).dtype

    @property
    def numpy(self) -> np.dtype:
        """The numpy element type (ml_dtypes' for BF16)."""
        return _format(self).numpy

    @property
    def max(self) -> float:
        """The largest finite value: 65504 for FP16 (IEEE 754 binary16), about 3.39e38 for BF16."""
        return _format(self).max

    @property
    def smallest_normal(self) -> float:
        """The smallest positive value of full precision: 2**-14 for FP16, 2**-126 for BF16 and FP32."""
        return _format(self).smallest_normal

    @property
    def minimum_opset(self) -> int:
        """The lowest opset AutoCast converts at without a warning: 13 for FP16, 22 for BF16."""
        return {Precision.FP16: 13, Precision.BF16: 22}[self]


@cache
def _format(precision: Precision) -> NumberFormat:
    from autocast_core.number_formats import NUMBER_FORMATS  # noqa: PLC0415 - `--help` and the spec's schema need no numpy

    return NUMBER_FORMATS[precision]


def low_precision(name: str) -> Precision:
    """The 16-bit precision called `name`. ConfigError for any other name."""
    if name not in (Precision.FP16, Precision.BF16):
        raise ConfigError(f"low precision type {name!s}: give fp16 or bf16")
    return Precision(name)
