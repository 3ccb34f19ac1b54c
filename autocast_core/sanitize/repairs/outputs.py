"""Pass `outputs`: every output of the main graph is made somewhere and has a type and a shape.

- An output that nothing makes is removed; AutoCast does the same.
- A missing type or shape is inferred.
- Does not act on what is declared, nor with ``config.strict_source``; an output whose type or rank cannot be inferred
  stays as it is.
"""

from __future__ import annotations

import onnx_ir as ir

from autocast_core.config import ConversionConfig
from autocast_core.graph.names import is_unmade
from autocast_core.sanitize.change import Change
from autocast_core.sanitize.types import inferred_types


def complete_outputs(model: ir.Model, config: ConversionConfig) -> tuple[Change, ...]:
    """Remove outputs that nothing makes, and complete the declarations of the others; see the module."""
    if config.strict_source:
        return ()
    return (*_remove_unmade(model.graph), *_complete(model))


def _remove_unmade(graph: ir.Graph) -> tuple[Change, ...]:
    removed = [str(value.name) for value in graph.outputs if is_unmade(value)]
    kept = [value for value in graph.outputs if not is_unmade(value)]
    if not removed or not kept:
        return ()
    graph.outputs.clear()
    graph.outputs.extend(kept)
    return (Change("outputs", f"removed outputs that no node makes: {', '.join(removed)}"),)


def _complete(model: ir.Model) -> tuple[Change, ...]:
    missing = [value for value in model.graph.outputs if value.type is None or value.shape is None]
    found = inferred_types(model) if missing else {}
    completed = []
    for value in missing:
        kind, shape = found.get(str(value.name), (None, None))
        if kind is not None and (value.type is None or value.type == kind) and shape is not None:
            value.type, value.shape = value.type or kind, shape
            completed.append(str(value.name))
    if not completed:
        return ()
    return (Change("outputs", f"inferred the missing type or shape of outputs: {', '.join(completed)}"),)
