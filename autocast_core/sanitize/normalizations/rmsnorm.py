"""Pass `rmsnorm`: root mean square normalization that an exporter took apart becomes one RMSNormalization.

- Fuses ``x / sqrt(mean(x**2) + eps) * scale`` over the last axis: Pow 2 or Mul by itself, ReduceMean, Add, Sqrt, Div
  (or Reciprocal, or Div of 1, and Mul), and Mul. FP32-to-FP32 Casts between them count as nothing.
- The result computes its statistics in FP32 (stash_type 1) with the same epsilon, has the name of the last node it
  stands for, and lists all their names (`annotations.replaced_names`). ONNX operator RMSNormalization, version 23.
- Does not act unless ``config.fuse_rms_norm`` is on, since opset 23 is newer than many runtimes; on types other than
  FP32; where an inner value is read by anything else or is an output; where the scale is not a one-dimensional constant
  as long as the last axis; where the axis, its length or epsilon is unknown.
"""

from __future__ import annotations

import onnx_ir as ir

from autocast_core.config import ConversionConfig
from autocast_core.sanitize.change import Change
from autocast_core.sanitize.normalizations.norm_parts import (
    NormParts,
    fuse_norms,
    has_norm,
    mean_square,
    quotient,
    require,
    uncast,
    with_scale,
)

FIRST_OPSET = 23
"""RMSNormalization's; pass `opset` raises a lower one where there is something to fuse."""


def fuse_rms_norm(model: ir.Model, config: ConversionConfig) -> tuple[Change, ...]:
    """Fuse every root mean square normalization of the main graph and of bodies; see the module."""
    if not config.fuse_rms_norm or model.graph.opset_imports.get("", 0) < FIRST_OPSET:
        return ()
    return fuse_norms(model, "rmsnorm", "RMSNormalization", _matched)


def has_rms_norm_parts(model: ir.Model) -> bool:
    """Whether a root mean square normalization of the model is taken apart such that the pass would fuse it."""
    return has_norm(model, _matched)


def _matched(sqrt: ir.Node) -> NormParts:
    nodes: list[ir.Node] = [sqrt]
    x, epsilon = mean_square(sqrt, nodes)
    normalized, numerator = quotient(sqrt, nodes)
    if numerator is not x:
        x = uncast(x, nodes)
        require(uncast(numerator, nodes) is x)
    require(x is not None and x.dtype == ir.DataType.FLOAT)
    assert x is not None
    return with_scale(x, normalized, epsilon, nodes)
