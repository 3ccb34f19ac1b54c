"""Brings a model into the one form that the later stages work on; see `sanitize`."""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir

from autocast_core.config import ConversionConfig
from autocast_core.sanitize.change import Change, Sanitized
from autocast_core.sanitize.constants import normalize_constants
from autocast_core.sanitize.domains import import_default_domain
from autocast_core.sanitize.fp64 import replace_fp64
from autocast_core.sanitize.functions import inline_functions
from autocast_core.sanitize.layernorm import fuse_layer_norm
from autocast_core.sanitize.masks import MaskPath, clamp_masks, mask_paths
from autocast_core.sanitize.names import give_unique_names
from autocast_core.sanitize.opset import choose_opset, raise_opset
from autocast_core.sanitize.types import infer_types

__all__ = ["PASSES", "Change", "MaskPath", "Sanitized", "mask_paths", "sanitize"]

Pass = Callable[[ir.Model, ConversionConfig], tuple[Change, ...]]

PASSES: tuple[Pass, ...] = (
    import_default_domain,
    inline_functions,
    give_unique_names,
    raise_opset,
    replace_fp64,
    normalize_constants,
    infer_types,
    fuse_layer_norm,
    clamp_masks,
)
"""The passes in their order; each works in place on the copy that `sanitize` makes and tells what it changed."""


def sanitize(model: ir.Model, config: ConversionConfig) -> Sanitized:
    """The sanitized copy of `model`; weights are shared and not read, `model` itself is not changed.

    After it every node and value has a name of its own, no model-local function is left, the opset suits the low type,
    nothing computes in FP64 (but the graph inputs and outputs that must keep it), and every tensor value has an element
    type that its operators settle. No node of the user's is removed but those that a fused node stands for.

    Raises UnconvertibleError, ModelError or ConfigError as the passes do.
    """
    copy = model.clone()
    changes: list[Change] = []
    warnings: tuple[str, ...] = ()
    for step in PASSES:
        if step is raise_opset:
            choice = choose_opset(copy, config)
            warnings = choice.warnings if choice is not None else ()
        changes.extend(step(copy, config))
    return Sanitized(copy, tuple(changes), warnings)
