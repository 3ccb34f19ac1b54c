"""Pass `fp64`: the model computes in FP32 where it computed in FP64.

- Makes FP32 of every FP64 value, initializer, constant and attribute that names a type, bodies included. FP64 between
  integers, as in shape arithmetic, becomes FP32 too: TensorRT has no FP64.
- A graph input or output that must keep its type (``config.keeps_io_type``) keeps FP64.
- Does not act where `float_types` says that a type stays.
"""

from __future__ import annotations

import onnx_ir as ir

from autocast_core.config import ConversionConfig
from autocast_core.sanitize.change import Change
from autocast_core.sanitize.float_types.replace_floats import replace_floats

_FP64 = frozenset({ir.DataType.DOUBLE})


def replace_fp64(model: ir.Model, config: ConversionConfig) -> tuple[Change, ...]:
    """Replace FP64 by FP32, but where it must stay; see the module. ModelError where a weight cannot be read."""
    done = replace_floats(model, _FP64, config.keeps_io_type)
    if done is None:
        return ()
    detail = f"{done.values} FP64 values are FP32 now"
    if done.left:
        detail += f"; {done.left} keep FP64, with Casts where they meet FP32"
    if done.clamped or done.underflowed:
        detail += f"; of the FP64 constants {done.clamped} elements were clamped and {done.underflowed} became 0"
    return (Change("fp64", detail, tuple(done.nodes)),)
