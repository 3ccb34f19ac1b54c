"""What applying a plan needs beyond the nodes' precisions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from autocast_core.config import Precision


class PluginPrecision(msgspec.Struct, frozen=True, array_like=True):
    """The precisions of a custom operator's float inputs and outputs, in order; a single entry stands for all.

    In JSON it is a pair of lists: ``[["fp16", "fp32"], ["fp16"]]``.
    """

    inputs: tuple[Precision, ...]
    outputs: tuple[Precision, ...]

    def wants_low(self, index: int, *, output: bool) -> bool:
        """Whether operand `index` is to have 16 bits."""
        wanted = self.outputs if output else self.inputs
        if not wanted:
            return False
        return wanted[min(index, len(wanted) - 1)].is_low if len(wanted) > 1 else wanted[0].is_low


class PlanSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What applying a plan needs beyond the nodes' precisions; each field is the option of the same name."""

    keep_io_types: Annotated[
        bool | tuple[str, ...],
        msgspec.Meta(description="Whether graph inputs and outputs keep their types; a list: those named."),
    ] = msgspec.field(default_factory=bool)  # a factory, since a plain default would not be written
    init_conversion_max_bytes: Annotated[
        Annotated[int, msgspec.Meta(ge=0)] | None,
        msgspec.Meta(description="Initializers with more FP32 bytes are cast at run time."),
    ] = None
    operands_to_exclude: Annotated[
        Mapping[str, Mapping[str, tuple[Annotated[int, msgspec.Meta(ge=0)], ...]]],
        msgspec.Meta(description="Per operator type the indices, under inp and out, of operands that stay FP32."),
    ] = msgspec.field(default_factory=dict)
    plugin_precisions: Annotated[
        Mapping[str, PluginPrecision],
        msgspec.Meta(description="Per custom operator the precisions of its inputs and of its outputs."),
    ] = msgspec.field(default_factory=dict)
    lower_all_io: Annotated[
        bool,
        msgspec.Meta(description="Whether graph inputs and outputs that only FP32 nodes touch take the low type, too."),
    ] = False

    def to_json(self) -> dict[str, Any]:
        """The fields that a plan file holds, as JSON values."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain

    def keeps_io_type(self, name: str) -> bool:
        """Whether graph input or output `name` keeps its type."""
        return self.keep_io_types if isinstance(self.keep_io_types, bool) else name in self.keep_io_types
