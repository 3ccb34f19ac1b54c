"""What a conversion is asked to do, and every fact about the number formats it may use."""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np
import onnx_ir as ir

from autocast_core.errors import ConfigError


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
        """The ONNX element type. ``NONE`` has none: KeyError."""
        return _DTYPES[self]

    @property
    def numpy(self) -> np.dtype:
        """The numpy element type (ml_dtypes' for BF16)."""
        return _NUMPY[self]

    @property
    def max(self) -> float:
        """The largest finite value: 65504 for FP16 (IEEE 754 binary16), about 3.39e38 for BF16."""
        return float(ml_dtypes.finfo(self.numpy).max)

    @property
    def smallest_normal(self) -> float:
        """The smallest positive value of full precision: 2**-14 for FP16, 2**-126 for BF16 and FP32."""
        return float(ml_dtypes.finfo(self.numpy).smallest_normal)

    @property
    def minimum_opset(self) -> int:
        """The lowest opset AutoCast converts at without a warning: 13 for FP16, 22 for BF16."""
        return {Precision.FP16: 13, Precision.BF16: 22}[self]


_DTYPES: Mapping[Precision, ir.DataType] = {
    Precision.FP32: ir.DataType.FLOAT,
    Precision.FP16: ir.DataType.FLOAT16,
    Precision.BF16: ir.DataType.BFLOAT16,
}
_NUMPY: Mapping[Precision, np.dtype] = {
    Precision.FP32: np.dtype(np.float32),
    Precision.FP16: np.dtype(np.float16),
    Precision.BF16: np.dtype(ml_dtypes.bfloat16),
}


def low_precision(name: str) -> Precision:
    """The 16-bit precision called `name`. ConfigError for any other name."""
    if name not in (Precision.FP16, Precision.BF16):
        raise ConfigError(f"low precision type {name!s}: give fp16 or bf16")
    return Precision(name)


def _check_profile(name: str, shapes: Sequence[Sequence[int]]) -> None:
    same_rank = len(shapes) == 3 and len({len(shape) for shape in shapes}) == 1
    if not same_rank or not all(0 <= low <= usual <= high for low, usual, high in zip(*shapes, strict=True)):
        raise ConfigError(
            f"profile of {name!r}: give three shapes of one rank, none larger than the next: smallest, usual, largest"
        )


LOW_DTYPES = frozenset({ir.DataType.FLOAT16, ir.DataType.BFLOAT16})
"""The element types of the 16-bit precisions."""
PRECISION_DTYPES = LOW_DTYPES | {ir.DataType.FLOAT}
"""The element types of all precisions: what a plan decides between."""
FLOAT_DTYPES = PRECISION_DTYPES | {ir.DataType.DOUBLE}
"""The element types between which tensors are converted: those of the precisions, and FP64 in source models."""


def precision_of(dtype: ir.DataType) -> Precision | None:
    """The precision whose element type is `dtype`, or None for any other type."""
    return next((precision for precision, other in _DTYPES.items() if other == dtype), None)


@dataclass(frozen=True)
class ConversionConfig:
    """One conversion's options; names, meanings and defaults follow AutoCast where it has them.

    Raises ConfigError when an option has a value that cannot be used.
    """

    precision: Precision = Precision.FP16
    nodes_to_exclude: tuple[str, ...] = ()
    op_types_to_exclude: tuple[str, ...] = ()
    nodes_to_include: tuple[str, ...] = ()
    op_types_to_include: tuple[str, ...] = ()
    data_max: float = 512.0
    """Largest magnitude of a node's float inputs and outputs; inf switches the rule and calibration off."""
    init_max: float = 65504.0
    init_conversion_max_bytes: int | None = None
    """Initializers with more FP32 bytes than this are cast at run time instead of being stored in 16 bits."""
    max_depth_of_reduction: int | None = None
    keep_io_types: bool | tuple[str, ...] = False
    """True: all graph inputs and outputs keep their types; names: those."""
    opset: int | None = None
    small_values: bool = True
    """Keep a node whose tensors lose more than the small-value rule allows to FP16's subnormal range."""
    clamp_masks: bool = True
    """Replace additive attention masks beyond the low type's range by a finite value that stays finite."""
    fuse_layer_norm: bool = True
    providers: tuple[str, ...] = ()
    """None given: the CPU, and TensorRT before it for a model with a custom operator where this machine has it."""
    trt_plugins: tuple[str, ...] = ()
    trt_plugins_precision: tuple[str, ...] = ()
    """AutoCast's syntax: ``OpType:fp16`` or ``OpType:[fp32,fp16]:[fp16]`` (inputs, outputs)."""
    use_standalone_type_inference: bool = False
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Shapes of dynamic inputs for random calibration data."""
    batch_size: int = 1
    seed: int = 0
    target: str | None = None
    """An engine to fit the plan to: ``tensorrt``."""
    profiles: Mapping[str, tuple[tuple[int, ...], ...]] = field(default_factory=dict)
    """For the target's engine: smallest, usual and largest shape of dynamic inputs; others as the data has them."""
    workspace_bytes: int | None = None
    """Most scratch memory for the target's engine."""
    timing_cache: str | None = None
    """A file in which classic TensorRT keeps what it timed."""
    custom_rule: Any = None
    operands_to_exclude: Mapping[str, Mapping[str, Sequence[int]]] = field(default_factory=dict)
    """Operands to leave in FP32, per operator type the indices under ``inp`` and ``out`` (convert_to_f16's
    ``tensor_block_dict``)."""

    def __post_init__(self) -> None:
        low_precision(self.precision)
        for patterns in (self.nodes_to_exclude, self.nodes_to_include):
            for pattern in patterns:
                try:
                    re.compile(pattern)
                except re.error as error:
                    raise ConfigError(f"node name pattern {pattern!r} is no regular expression: {error}") from error
        for name, shapes in self.profiles.items():
            _check_profile(name, shapes)
        for name in ("data_max", "init_max"):
            value = getattr(self, name)
            if not value > 0:
                raise ConfigError(f"{name} is {value}: give a positive number, or inf to switch the rule off")
        if self.max_depth_of_reduction is not None and self.max_depth_of_reduction < 1:
            raise ConfigError(f"max_depth_of_reduction is {self.max_depth_of_reduction}: give at least 1")
        if self.init_conversion_max_bytes is not None and self.init_conversion_max_bytes < 0:
            raise ConfigError(f"init_conversion_max_bytes is {self.init_conversion_max_bytes}: give 0 or more")
        if self.opset is not None and self.opset < 1:
            raise ConfigError(f"opset is {self.opset}: give a positive number")
        if self.batch_size < 1:
            raise ConfigError(f"batch_size is {self.batch_size}: give at least 1")

    def keeps_io_type(self, name: str) -> bool:
        """Whether graph input or output `name` must keep its type."""
        return self.keep_io_types if isinstance(self.keep_io_types, bool) else name in self.keep_io_types
