"""Prints a plan out as a model: types move with the nodes, casts stand where wishes differ. No data is looked at.

The order: what moves is settled for all nodes by their schemas; then every value has one natural type (its producer's),
every reader a wish; the contract decides graph inputs and outputs; literals are stored as wished; casts fill the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnx_ir as ir
from msgspec.structs import replace

from autocast_core.apply.casts import SUFFIX, Casts, may_be_output, narrow_source
from autocast_core.apply.literals import convert_tensor, settle_literals, store
from autocast_core.apply.uses import GraphOutput, NodeInput, Use, Uses, cast_target, collect_uses, types_before
from autocast_core.config import Precision
from autocast_core.errors import PlanError
from autocast_core.graph.annotations import set_kept_nodes
from autocast_core.graph.names import UnusedNames, unused_names
from autocast_core.graph.walk import is_counted, nodes_with_ids
from autocast_core.number_formats import LOW_DTYPES, PRECISION_DTYPES
from autocast_core.operators import (
    OperandPolicy,
    Operands,
    element_type,
    float_operands,
    is_tensor,
    output_type_fact,
    ports_of,
    with_element_type,
)
from autocast_core.plan import PrecisionPlan


@dataclass(frozen=True)
class Applied:
    """The converted model, the plan with `io_kept` filled in, and how many Casts the model gained."""

    model: ir.Model
    plan: PrecisionPlan
    casts_inserted: int


def apply_plan(model: ir.Model, plan: PrecisionPlan) -> Applied:
    """Convert `model`, which is not modified, as `plan` says.

    Raises PlanError when the plan speaks of other nodes than the model has, UnconvertibleError where values that no
    Cast takes (sequences, optionals) would need one.
    """
    return apply_in_place(model.clone(), plan)


def apply_in_place(model: ir.Model, plan: PrecisionPlan) -> Applied:
    """`apply_plan` on `model` itself, for a caller that has no other use for it; it is spoilt where this raises."""
    by_id, decided = _match(model, plan)
    nodes = list(by_id.values())
    names = unused_names(model.graph)
    contract = _Contract(model.graph, plan)
    original = types_before(model.graph, nodes)
    moves = _moves(model, plan, by_id, decided)
    nodes = _merge_source_casts(nodes, original)
    uses = collect_uses(nodes, original, moves)
    _retype_outputs(moves)
    contract.settle_made_outputs(uses, original)
    _spare_detours(nodes, uses)
    _retarget_casts(nodes, uses)
    contract.settle_inputs(uses, original)
    contract.settle_passed_outputs(uses, original)
    copies = settle_literals(model, nodes, uses, names, plan.settings.init_conversion_max_bytes)
    casts = Casts(names)
    _settle_source_casts(nodes, casts)
    _grant(uses, copies, casts)
    _drop_unread_casts(nodes, uses)
    casts.finish()
    contract.restore_names(names)
    set_kept_nodes(model, [node_id for node_id, precision in decided.items() if precision == Precision.FP32])
    return Applied(model, replace(plan, io_kept=contract.kept), casts.inserted)


def _match(model: ir.Model, plan: PrecisionPlan) -> tuple[dict[str, ir.Node], dict[str, Precision]]:
    by_id = dict(nodes_with_ids(model.graph))
    counted = {node_id for node_id, node in by_id.items() if is_counted(node)}
    decided = {decision.id: decision.precision for decision in plan.nodes}
    for missing, text in (
        (sorted(counted - set(decided)), "the plan says nothing of"),
        (sorted(set(decided) - counted), "the model lacks"),
    ):
        if missing:
            shown = ", ".join(missing[:5]) + (" …" if len(missing) > 5 else "")
            raise PlanError(f"the plan is for another structure: {text} {len(missing)} node(s): {shown}")
    return by_id, decided


def _moves(
    model: ir.Model, plan: PrecisionPlan, by_id: Mapping[str, ir.Node], decided: Mapping[str, Precision]
) -> dict[ir.Node, tuple[Operands, ir.DataType]]:
    policy = OperandPolicy.of_plan(model, plan)
    moves = {}
    for node_id, node in by_id.items():
        precision = decided.get(node_id, Precision.NONE)
        if precision.is_low or node.op_type in policy.plugins:
            low = precision if precision.is_low else plan.precision
            operands = float_operands(node, policy, low)
            if any(operands.inputs) or any(operands.outputs):
                moves[node] = (operands, low.dtype)
    return moves


def _merge_source_casts(nodes: list[ir.Node], original: Mapping[ir.Value, ir.DataType | None]) -> list[ir.Node]:
    """Let readers of a Cast that changes nothing, undoes a widening one or repeats one read the other value.

    Returns the nodes that are left: a Cast that makes an output of its graph is.
    """
    seen = Casts(UnusedNames(()))
    left = []
    for node in nodes:
        to = cast_target(node)
        source = node.inputs[0] if to in PRECISION_DTYPES else None
        other = None
        if source is not None:
            widened = narrow_source(source)
            same = next((value for value in (source, widened) if value is not None and original.get(value) == to), None)
            other = same if same is not None else seen.register(node)
        if other is not None:
            _redirect(node.outputs[0], other)
        if other is None or node.outputs[0].is_graph_output():
            left.append(node)
        else:
            _remove(node)
    return left


def _retype_outputs(moves: Mapping[ir.Node, tuple[Operands, ir.DataType]]) -> None:
    for node, (operands, low) in moves.items():
        for value, moving in zip(node.outputs, operands.outputs, strict=True):
            if moving:
                _retype(value, low)
        for port in ports_of(node):
            moving = _port_moves(operands, port.input_index, port.output_index)
            if moving and port.inner_input is not None and element_type(port.inner_input) == ir.DataType.FLOAT:
                _retype(port.inner_input, low)
        _set_dtype_attribute(node, operands, low)


def _port_moves(operands: Operands, input_index: int | None, output_index: int | None) -> bool:
    return (input_index is not None and operands.inputs[input_index]) or (
        output_index is not None and operands.outputs[output_index]
    )


def _retype(value: ir.Value, dtype: ir.DataType) -> None:
    assert value.type is not None
    value.type = with_element_type(value.type, dtype)


def _set_dtype_attribute(node: ir.Node, operands: Operands, low: ir.DataType) -> None:
    fact = output_type_fact(node)
    if fact is None or not fact.settable or not operands.outputs[0]:
        return
    name = fact.attribute
    attribute = node.attributes.get(name)
    if name == "value":
        tensor = attribute.as_tensor() if attribute is not None else ir.tensor([0.0], dtype=ir.DataType.FLOAT, name="")
        node.attributes[name] = ir.AttrTensor(name, convert_tensor(tensor, low, tensor.name or ""))
    elif node.op_type == "DequantizeLinear" and operands.inputs[1]:
        node.attributes.pop(name, None)  # the type of the scale, which moves too, says the same
    elif attribute is not None or fact.default == "FLOAT":
        node.attributes[name] = ir.AttrInt64(name, int(low))


def _spare_detours(nodes: list[ir.Node], uses: Uses) -> None:
    """Who wishes the 16-bit type that a value had before a Cast made it FP32 reads the value before."""
    for node in nodes:
        output = node.outputs[0] if cast_target(node) == ir.DataType.FLOAT else None
        source = narrow_source(output) if output is not None else None
        if output is None or source is None:
            continue
        for use in list(uses.by_value.get(output, ())):
            may = not isinstance(use.place, GraphOutput) or may_be_output(source, use.place.graph)
            if use.firm and use.wish == element_type(source) and may:
                use.place.write(source)
                uses.move(output, use, source)


def _retarget_casts(nodes: list[ir.Node], uses: Uses) -> None:
    """A Cast to FP32 whose readers all wish one low type makes that type instead, and wishes it of its own input."""
    for node in reversed(nodes):
        if node.graph is None or cast_target(node) != ir.DataType.FLOAT:
            continue
        output = node.outputs[0]
        wishes = uses.wishes(output)
        if len(wishes) == 1 and wishes[0] in LOW_DTYPES and is_tensor(output):
            node.attributes["to"] = ir.AttrInt64("to", int(wishes[0]))
            _retype(output, wishes[0])
            uses.change_wish(node.inputs[0], NodeInput(node, 0), wishes[0])


def _settle_source_casts(nodes: list[ir.Node], casts: Casts) -> None:
    """Remove the source's Casts that now change nothing or repeat another; the others are versions of their inputs."""
    for node in nodes:
        source = node.inputs[0] if cast_target(node) in PRECISION_DTYPES else None
        if node.graph is None or source is None:
            continue
        other = source if element_type(source) == cast_target(node) else casts.register(node)
        if other is not None and _let_stand_in(other, node.outputs[0]):
            _remove(node)


def _grant(uses: Uses, copies: Mapping[tuple[ir.Value, ir.DataType], ir.Value], casts: Casts) -> None:
    """Let every reader read a version of its value that has the type it wishes."""
    for readers in uses.by_value.values():
        for use in readers:
            value = use.place.read()
            if not use.firm or value is None:
                continue
            wanted = copies.get((value, use.wish))
            if wanted is None:
                scope = use.place.graph if isinstance(use.place, GraphOutput) else None
                wanted = casts.version(value, use.wish, scope)
            if wanted is not value:
                use.place.write(wanted)


def _drop_unread_casts(nodes: list[ir.Node], uses: Uses) -> None:
    """Remove the source's Casts that had readers and lost them all."""
    for node in reversed(nodes):
        if node.graph is None or cast_target(node) not in PRECISION_DTYPES:
            continue
        output = node.outputs[0]
        if output in uses.by_value and not output.uses() and not output.is_graph_output():
            _remove(node)


def _let_stand_in(source: ir.Value, output: ir.Value) -> bool:
    """Let nodes read `source` instead of `output`, and its graph hand it out where it may; whether nothing is left."""
    _redirect(output, source)
    if not output.is_graph_output():
        return True
    graph = output.graph
    assert graph is not None
    if not may_be_output(source, graph):
        return False
    for index, value in enumerate(graph.outputs):
        if value is output:
            graph.outputs[index] = source
    return True


def _redirect(value: ir.Value, other: ir.Value) -> None:
    """Let the nodes that read `value` read `other`."""
    for node, index in list(value.uses()):
        node.replace_input_with(index, other)


def _remove(node: ir.Node) -> None:
    assert node.graph is not None
    for index in range(len(node.inputs)):
        node.replace_input_with(index, None)
    node.graph.remove(node)


class _Contract:
    """The types of the main graph's inputs and outputs, and their names."""

    def __init__(self, graph: ir.Graph, plan: PrecisionPlan) -> None:
        self._graph = graph
        self._low = plan.precision.dtype
        self._settings = plan.settings
        self._outputs = list(graph.outputs)
        self._output_names = [value.name for value in graph.outputs]
        self._kept: set[str | None] = set()

    @property
    def kept(self) -> tuple[str, ...]:
        """The inputs and outputs that stay FP32 because no low node touches them, in graph order."""
        names = [*(value.name for value in self._graph.inputs), *self._output_names]
        return tuple(dict.fromkeys(name or "" for name in names if name in self._kept))

    def settle_inputs(self, uses: Uses, original: Mapping[ir.Value, ir.DataType | None]) -> None:
        """Retype the FP32 inputs that take the low type: all but kept ones and those that only FP32 nodes read."""
        for value in self._graph.inputs:
            if original.get(value) != ir.DataType.FLOAT or self._keeps(value):
                continue
            wishes = uses.firm_wishes(value)
            if any(dtype in LOW_DTYPES for dtype in wishes) or (not wishes and is_tensor(value)):
                _retype(value, self._low)
                if value.const_value is not None:
                    store(value, convert_tensor(value.const_value, self._low, value.name or ""))
            else:
                self._kept.add(value.name)

    def settle_made_outputs(self, uses: Uses, original: Mapping[ir.Value, ir.DataType | None]) -> None:
        """Add the wishes of the FP32 outputs: the low type, unless kept or touched by FP32 nodes alone."""
        for index, value in enumerate(self._graph.outputs):
            if not value.is_graph_input() and original.get(value) in PRECISION_DTYPES:
                self._settle_output(index, value, self._output_type(value, uses), uses, original)

    def settle_passed_outputs(self, uses: Uses, original: Mapping[ir.Value, ir.DataType | None]) -> None:
        """The same for outputs that are inputs, once the inputs are settled, whose type they have."""
        for index, value in enumerate(self._graph.outputs):
            if value.is_graph_input() and original.get(value) in PRECISION_DTYPES:
                self._settle_output(index, value, element_type(value) or ir.DataType.FLOAT, uses, original)

    def _settle_output(
        self,
        index: int,
        value: ir.Value,
        natural: ir.DataType,
        uses: Uses,
        original: Mapping[ir.Value, ir.DataType | None],
    ) -> None:
        wish = original[value] or natural
        if wish == ir.DataType.FLOAT and not self._keeps(value):
            wish = natural
            if wish == ir.DataType.FLOAT:
                self._kept.add(value.name)
        uses.add(value, Use(GraphOutput(self._graph, index), wish))

    def restore_names(self, names: UnusedNames) -> None:
        """Give what now stands at each output the output's name and shape."""
        for index, (before, name) in enumerate(zip(self._outputs, self._output_names, strict=True)):
            now = self._graph.outputs[index]
            if now is before or now.name == name:
                continue
            suffix = SUFFIX.get(element_type(before) or ir.DataType.UNDEFINED, "source")
            if before.name == name:
                _rename(before, names.fresh(f"{name}_{suffix}"))
            _rename(now, name or "")
            now.shape = before.shape if before.shape is not None else now.shape
            now.doc_string, before.doc_string = before.doc_string, None
            now.metadata_props.update(before.metadata_props)
            before.metadata_props.clear()

    def _keeps(self, value: ir.Value) -> bool:
        return self._settings.keeps_io_type(value.name or "")

    def _output_type(self, value: ir.Value, uses: Uses) -> ir.DataType:
        if not is_tensor(value):
            return element_type(value) or ir.DataType.FLOAT
        producer = value.producer()
        follows_readers = producer is None or not is_counted(producer)
        natural = element_type(value)
        if natural in LOW_DTYPES or follows_readers or any(wish in LOW_DTYPES for wish in uses.firm_wishes(value)):
            return self._low
        return ir.DataType.FLOAT


def _rename(value: ir.Value, name: str) -> None:
    """Rename a value; an initializer gets its own view of the tensor first, since a rename reaches into it."""
    tensor = value.const_value
    if tensor is not None:
        value.const_value = convert_tensor(tensor, tensor.dtype, name)
    value.name = name
