"""Pass `layernorm`: layer normalization that an exporter took apart becomes one LayerNormalization.

- Fuses ``(x - mean(x)) / sqrt(mean((x - mean(x))**2) + eps) * scale [+ bias]`` over the last axis: ReduceMean, Sub
  (one, or the same twice), Pow 2 or Mul by itself, ReduceMean, Add, Sqrt, Div (or Reciprocal, or Div of 1, and Mul),
  Mul, Add. FP32-to-FP32 Casts between them count as nothing.
- The result computes its statistics in FP32 (stash_type 1) with the same epsilon, has the name of the last node it
  stands for, and lists all their names (`annotations.replaced_names`). ONNX operator LayerNormalization, version 17.
- Does not act below opset 17; on types other than FP32; where an inner value is read by anything else or is an output;
  where scale or bias is not a one-dimensional constant as long as the last axis; where the axis, its length or epsilon
  is unknown; or with ``config.fuse_layer_norm`` off.
"""

from __future__ import annotations

import onnx_ir as ir

from autocast_core.config import ConversionConfig
from autocast_core.sanitize.change import Change
from autocast_core.sanitize.normalizations.norm_parts import (
    NormParts,
    fuse_norms,
    has_norm,
    last_axis_mean,
    mean_square,
    producer,
    quotient,
    require,
    uncast,
    with_scale,
)

FIRST_OPSET = 17
"""LayerNormalization's; pass `opset` raises a lower one where there is something to fuse."""


def fuse_layer_norm(model: ir.Model, config: ConversionConfig) -> tuple[Change, ...]:
    """Fuse every layer normalization of the main graph and of bodies; see the module."""
    if not config.fuse_layer_norm or model.graph.opset_imports.get("", 0) < FIRST_OPSET:
        return ()
    return fuse_norms(model, "layernorm", "LayerNormalization", _matched)


def has_layer_norm_parts(model: ir.Model) -> bool:
    """Whether a layer normalization of the model is taken apart such that the pass would fuse it."""
    return has_norm(model, _matched)


def _matched(sqrt: ir.Node) -> NormParts:
    nodes: list[ir.Node] = [sqrt]
    deviation, epsilon = mean_square(sqrt, nodes)
    sub = producer(deviation, "Sub", nodes)
    x, mean = sub.inputs
    require(x is not None and x.dtype == ir.DataType.FLOAT)
    mean_of_x = producer(mean, "ReduceMean", nodes)
    require(uncast(last_axis_mean(mean_of_x), nodes) is x)
    normalized, numerator = quotient(sqrt, nodes)
    top = producer(numerator, "Sub", nodes)
    require(top is sub or tuple(top.inputs) == tuple(sub.inputs))
    assert x is not None
    return with_scale(x, normalized, epsilon, nodes, and_bias=True)
