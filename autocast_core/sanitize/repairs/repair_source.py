"""Repairs of a source that onnx.checker refuses and runtimes run, each a pass of its own."""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir

from autocast_core.config import ConversionConfig
from autocast_core.sanitize.change import Change
from autocast_core.sanitize.repairs.early_operators import raise_for_early_operators
from autocast_core.sanitize.repairs.graph_name import name_graphs
from autocast_core.sanitize.repairs.imports import import_known_domains
from autocast_core.sanitize.repairs.inputs import declare_ranks
from autocast_core.sanitize.repairs.ir_version import allow_constants
from autocast_core.sanitize.repairs.order import sort_nodes
from autocast_core.sanitize.repairs.outputs import complete_outputs
from autocast_core.sanitize.repairs.plugins import move_plugins

REPAIRS: tuple[Callable[[ir.Model, ConversionConfig], tuple[Change, ...]], ...] = (
    name_graphs,
    allow_constants,
    import_known_domains,
    move_plugins,
    sort_nodes,
    declare_ranks,
    raise_for_early_operators,
    complete_outputs,
)


def repair_in_place(model: ir.Model, config: ConversionConfig) -> tuple[Change, ...]:
    """Repair what `model` fails to declare; returns the changes, none where nothing was missing.

    None of it changes what the model computes.
    """
    return tuple(change for repair in REPAIRS for change in repair(model, config))
