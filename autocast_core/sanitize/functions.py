"""Pass `functions`: model-local functions are inlined, so that one mechanism sees every node.

- Puts the body of each function in the place of its calls, nested calls included. An inlined node is called
  ``CALL/NODE``.
- Where the opsets of the model and of its functions differ, the nodes of the lower ones are upgraded to the highest.
- Drops functions that nothing calls.
- Does not act on a model without functions.
"""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes.common import InlinePass

from autocast_core.config import ConversionConfig
from autocast_core.errors import ModelError, UnconvertibleError
from autocast_core.graph.annotations import (
    function_origin,
    set_function_call,
    set_function_origin,
    take_function_call,
)
from autocast_core.graph.names import UnusedNames, node_names, value_names
from autocast_core.graph.walk import all_nodes
from autocast_core.sanitize.change import OPSET, Change
from autocast_core.sanitize.names import name_function_nodes
from autocast_core.sanitize.upgrade import upgrade_nodes

OperatorId = tuple[str, str, str]


def inline_functions(model: ir.Model, config: ConversionConfig) -> tuple[Change, ...]:
    """Inline the model-local functions; see the module.

    Raises ModelError where functions call each other in a circle and UnconvertibleError where a call passes a graph as
    an attribute, or a node cannot be upgraded."""
    if not model.functions:
        return ()
    called = _called_functions(model)
    unused = [key for key in model.functions if key not in called]
    for key in unused:
        del model.functions[key]
    changes = [_change(f"dropped {len(unused)} functions that nothing calls", unused)] if unused else []
    if not model.functions:
        return tuple(changes)
    functions, domains = dict(model.functions), {key[0] for key in model.functions}
    calls = [node for node in all_nodes(model.graph) if node.op_identifier() in functions]
    opsets = _prepare(model, calls)
    try:
        InlinePass()(model)
    except ir.passes.PreconditionError as error:
        raise ModelError(
            f"model-local functions call each other in a circle ({error}): export the model again"
        ) from error
    except (ir.passes.PassError, ValueError, RuntimeError) as error:
        raise UnconvertibleError(f"cannot inline a model-local function: {error.__cause__ or error}") from error
    upgraded = _finish(model, opsets)
    used = {node.domain for node in all_nodes(model.graph)}
    for domain in sorted(domains - used - {""}):
        model.graph.opset_imports.pop(domain, None)
    changes.append(_change(f"inlined {len(functions)} functions at {len(calls)} calls", list(functions)))
    return (*changes, *upgraded)


def _change(detail: str, functions: list[OperatorId]) -> Change:
    names = ", ".join(sorted(f"{domain}::{name}" for domain, name, _ in functions))
    return Change("functions", f"{detail}: {names}")


def _called_functions(model: ir.Model) -> set[OperatorId]:
    called: set[OperatorId] = set()
    pending = list(all_nodes(model.graph))
    while pending:
        key = pending.pop().op_identifier()
        if key in model.functions and key not in called:
            called.add(key)
            pending.extend(all_nodes(model.functions[key].graph))
    return called


def _prepare(model: ir.Model, calls: list[ir.Node]) -> dict[OperatorId, int | None]:
    """Makes inlining safe and traceable; returns each function's opset of the default domain.

    Nodes remember where they come from in `meta` and calls in `metadata_props`, which inlining copies. Opsets are made
    equal in name only: what that leaves to upgrade is done after, when attributes have values.
    """
    names = UnusedNames(value_names(model))
    for index, call in enumerate(calls):
        set_function_call(call, call.name or f"{call.op_type}_{index}")
    for node in (*calls, *(n for f in model.functions.values() for n in all_nodes(f.graph))):
        for output in node.outputs:
            if output.name == "" and node.op_identifier() in model.functions:
                output.name = names.fresh(f"{node.op_type}_output")
    opsets: dict[OperatorId, int | None] = {}
    for key, function in model.functions.items():
        name_function_nodes(function)
        _separate_outputs(function)
        for node in all_nodes(function.graph):
            set_function_origin(node, (key, node.name or ""))
        opsets[key] = function.opset_imports.get("")
        for domain, version in function.opset_imports.items():
            known = model.graph.opset_imports.get(domain, 0)
            if domain != "":
                model.graph.opset_imports[domain] = max(known, version)
        function.opset_imports.clear()
    return opsets


def _separate_outputs(function: ir.Function) -> None:
    """Gives an output that is an input, or another output, an Identity of its own: inlining would rename its source."""
    seen = {id(value) for value in function.inputs}
    for position, value in enumerate(function.outputs):
        if id(value) in seen:
            identity = ir.Node("", "Identity", [value], num_outputs=1, name=f"Identity_{value.name}_{position}")
            identity.outputs[0].name = f"{value.name}_{position}"
            function.graph.append(identity)
            function.graph.outputs[position] = identity.outputs[0]
        seen.add(id(value))


def _finish(model: ir.Model, opsets: dict[OperatorId, int | None]) -> tuple[Change, ...]:
    """Names the inlined nodes and brings all nodes to one opset."""
    names = UnusedNames(node.name for node in all_nodes(model.graph) if function_origin(node) is None)
    own = model.graph.opset_imports.get("")
    groups: dict[int, list[ir.Node]] = {}
    for node in all_nodes(model.graph):
        opset = own
        call, origin = take_function_call(node), function_origin(node)
        if origin is not None:
            set_function_origin(node, None)
            key, name = origin
            node.name = names.fresh(f"{call}/{name}" if call else name)
            opset = opsets[key]
        if opset is not None:
            groups.setdefault(opset, []).append(node)
    target = max([*groups, own or 0])
    if target:
        model.graph.opset_imports[""] = target
    lower = sorted(opset for opset in groups if opset < target)
    if not lower:
        return ()
    replaced: list[ir.Node] = []
    for opset in lower:
        unique = UnusedNames(node_names(model)), UnusedNames(value_names(model))
        replaced += upgrade_nodes(groups[opset], opset, target, *unique)
    detail = f"nodes at opset {', '.join(map(str, lower))} raised to {target}, which others of the model have"
    return (Change(OPSET, detail, tuple(str(node.name) for node in replaced)),)
