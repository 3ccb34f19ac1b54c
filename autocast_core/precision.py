"""The precisions that a node may compute in; importing them loads neither numpy nor onnx_ir, asking for facts does."""

from __future__ import annotations

import enum
from collections.abc import Iterable
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
    def unit_roundoff(self) -> float:
        """The largest relative error of rounding to a normal value: FP16 2**-11, BF16 2**-8, FP32 2**-24."""
        return _format(self).unit_roundoff

    @property
    def minimum_opset(self) -> int:
        """The lowest opset AutoCast converts at without a warning: 13 for FP16, 22 for BF16."""
        return {Precision.FP16: 13, Precision.BF16: 22}[self]


@cache
def _format(precision: Precision) -> NumberFormat:
    from autocast_core.number_formats import NUMBER_FORMATS  # noqa: PLC0415 - `--help` and the spec's schema need no numpy

    return NUMBER_FORMATS[precision]


LowTypes = tuple[Precision, ...]
"""The 16-bit types of a conversion: one, or FP16 and, for nodes that need more range than it has, BF16."""

LOW_TYPES: tuple[LowTypes, ...] = (
    (Precision.FP16,),
    (Precision.BF16,),
    (Precision.FP16, Precision.BF16),
)
"""What a conversion may be asked for."""


def parse_low_types(asked: str | Iterable[str]) -> tuple[Precision, Precision | None]:
    """The 16-bit type, and the second one where two are asked for, of a text (``fp16``, ``bf16``, ``fp16,bf16``) or of
    a sequence of names.

    ConfigError for anything else.
    """
    names = (
        tuple(asked.split(",")) if isinstance(asked, str) else tuple(asked) if isinstance(asked, Iterable) else (asked,)
    )
    if names not in LOW_TYPES:
        shown = ",".join(map(str, names))
        raise ConfigError(f"low precision type {shown}: give fp16 or bf16, or fp16,bf16: BF16 beyond FP16's range")
    return Precision(names[0]), Precision(names[1]) if len(names) > 1 else None


def types_text(types: LowTypes, separator: str = ",") -> str:
    """What `parse_low_types` reads: ``fp16``, ``bf16`` or ``fp16,bf16``; in names with ``-`` as `separator`."""
    return separator.join(types)
