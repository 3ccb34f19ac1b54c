"""The passes in their order.

Each pass is a function in a file of its own: it works in place, gets the whole configuration and returns what it
changed, nothing where it did not act. The order:

1. `dimensions`, `plugins`, `domains`, `functions`, `names`, `normalization_axes`: every node can be named and no
   function hides one; the later passes rely on both.
2. `types`: every tensor value has an element type.
3. `opset`, `fp64`, `widen`, `constants`: rewrites that need types; where one acts, types are inferred anew.
4. the IR version, `layernorm`, `rmsnorm`, `masked_rows`, `masks`: repairs of what exporters wrote, on the final
   operators and types.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import onnx_ir as ir

from autocast_core.config import ConversionConfig
from autocast_core.graph.walk import note_flat
from autocast_core.number_formats import LOW_DTYPES
from autocast_core.sanitize.change import Change, Sanitized
from autocast_core.sanitize.constants import normalize_constants
from autocast_core.sanitize.domains import import_default_domain
from autocast_core.sanitize.float_types.fp64 import replace_fp64
from autocast_core.sanitize.float_types.widen import widen, widen_other_types
from autocast_core.sanitize.functions import inline_functions
from autocast_core.sanitize.masks import clamp_masks
from autocast_core.sanitize.names import give_unique_names
from autocast_core.sanitize.normalizations.layernorm import fuse_layer_norm
from autocast_core.sanitize.normalizations.rmsnorm import fuse_rms_norm
from autocast_core.sanitize.opset import choose_opset, lower_ir_version, raise_opset
from autocast_core.sanitize.range_repairs import keep_masked_rows
from autocast_core.sanitize.repairs import PLUGINS, move_plugins, open_negative_dimensions, state_axes
from autocast_core.sanitize.types import ASSUMED_TYPES, DECLARED_OUTPUTS, infer_types

Pass = Callable[[ir.Model, ConversionConfig], tuple[Change, ...]]

NAMING: tuple[Pass, ...] = (
    open_negative_dimensions,
    move_plugins,
    import_default_domain,
    inline_functions,
    give_unique_names,
    state_axes,
)
REWRITING: tuple[Pass, ...] = (raise_opset, replace_fp64, widen_other_types, normalize_constants)
REPAIRING: tuple[Pass, ...] = (lower_ir_version, fuse_layer_norm, fuse_rms_norm, keep_masked_rows, clamp_masks)
WARNED = frozenset({DECLARED_OUTPUTS, ASSUMED_TYPES, PLUGINS})
"""The steps whose changes are warnings too."""


def sanitize(model: ir.Model, config: ConversionConfig) -> Sanitized:
    """The sanitized copy of `model`; weights are shared and not read, `model` itself is not changed.

    After it every node and value has a name of its own, no model-local function is left, the opset suits the low type,
    nothing computes in FP64 or in a 16-bit type that is not the config's (but the graph inputs and outputs that must
    keep theirs), and every tensor value has an element type that its operators settle. The user's nodes stay, but for
    those that a fused node stands for.

    Raises UnconvertibleError, ModelError or ConfigError as the passes do.
    """
    return sanitize_in_place(model.clone(), config)


def sanitize_in_place(model: ir.Model, config: ConversionConfig) -> Sanitized:
    """`sanitize` on `model` itself, for a caller that has no other use for it; undefined where this raises."""
    changes: list[Change] = []
    note_flat(model)  # whoever loaded the model may have changed it since

    def run(passes: Iterable[Pass]) -> list[Change]:
        made = [change for each in passes for change in each(model, config)]
        changes.extend(made)
        return made

    run((*NAMING, infer_types))
    choice = choose_opset(model, config)
    if run(REWRITING):
        run((infer_types,))
    run(REPAIRING)
    wrong = tuple(change.detail for change in changes if change.step in WARNED)
    return Sanitized(model, tuple(changes), (*(choice.warnings if choice is not None else ()), *wrong))


def widen_in_place(model: ir.Model, config: ConversionConfig) -> Sanitized:
    """`model` with FP32 in the place of all 16-bit types, but for inputs and outputs that ``keep_io_types`` keeps.

    Nodes and values have names of their own and local functions are inlined; the opset stays. Raises as the passes do.
    """
    note_flat(model)
    changes = [change for each in (*NAMING, infer_types) for change in each(model, config)]
    made = widen(model, LOW_DTYPES, config.keeps_io_type)
    infer_types(model, config)
    nothing = () if made else ("nothing was widened: the model holds no 16-bit floats",)
    return Sanitized(model, (*changes, *made), nothing)
