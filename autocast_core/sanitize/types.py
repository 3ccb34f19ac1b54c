"""Pass `types`: every tensor value has an element type, and what is inferred wins over what was declared.

- Infers element types and shapes of all values anew, bodies included. onnx.shape_inference runs on a copy of the graph
  without its weights and without the declarations of inner values, so that a stale declaration does not survive where
  inference knows better; a declared type or shape stays where inference yields none.
- Element types that are still missing come from the schemas of operators (`operators.inference`). Those of custom
  operators, which have none, are assumed: with a warning, or refused with ``config.strict_source``.
- A declared shape of a main graph's output that inference contradicts is replaced, unless ``config.strict_source``:
  runtimes do not look at it.
- Does not touch the types and shapes of the main graph's inputs, nor the types of its outputs.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import onnx
import onnx_ir as ir

from autocast_core.config import ConversionConfig
from autocast_core.errors import ModelError
from autocast_core.graph.constants import SMALL_TENSOR_BYTES
from autocast_core.graph.names import defined_values
from autocast_core.graph.walk import all_graphs
from autocast_core.model.protobuf.serde import serialize_undeclared
from autocast_core.operators import infer_missing_types, with_element_type
from autocast_core.sanitize.change import Change
from autocast_core.text import one_line

logger = logging.getLogger(__name__)

DECLARED_OUTPUTS = "declared_outputs"
"""The step of changes of what is declared of outputs, whose names they hold as `nodes`."""

ASSUMED_TYPES = "assumed_types"
"""The step of a change that says which types of values were assumed."""

Inferred = tuple[ir.TypeProtocol, ir.Shape | None]


def infer_types(model: ir.Model, config: ConversionConfig) -> tuple[Change, ...]:
    """Infer types and shapes; see the module."""
    inferred = inferred_types(model)
    corrected = []
    fixed = {id(value) for value in (*model.graph.inputs, *model.graph.outputs, *model.graph.initializers.values())}
    for graph in all_graphs(model.graph):
        for value in defined_values(graph):
            found = inferred.get(str(value.name)) if value.name and id(value) not in fixed else None
            if found is not None and _update(value, *found):
                corrected.append(str(value.name))
    assumed = _assumed(infer_missing_types(model), config)
    changes = (*assumed, *(() if config.strict_source else _correct_outputs(model.graph, inferred)))
    if not corrected:
        return changes
    detail = f"corrected the declared type or shape of {len(corrected)} values: {_first(corrected)}"
    return (Change("types", detail), *changes)


def _assumed(values: Sequence[ir.Value], config: ConversionConfig) -> tuple[Change, ...]:
    """The change for types that nothing but the inputs of a custom operator tells. ModelError in a strict source."""
    if not values:
        return ()
    operators = tuple(dict.fromkeys(str(node.op_type) for value in values if (node := value.producer()) is not None))
    found = [f"{value.name!r} as {value.dtype}" for value in values]
    if config.strict_source:
        raise ModelError(
            f"the model does not declare the type of {values[0].name!r}, which the custom operator {operators[0]} "
            "makes: declare it in value_info, or convert without strict_source"
        )
    detail = f"nothing declares the types that custom operators ({', '.join(operators)}) make: taken {_first(found)}"
    return (Change(ASSUMED_TYPES, detail),)


def _first(texts: Sequence[str]) -> str:
    return ", ".join(texts[:3]) + (", …" if len(texts) > 3 else "")


def _correct_outputs(graph: ir.Graph, inferred: Mapping[str, Inferred]) -> tuple[Change, ...]:
    """Replace declared shapes of outputs that inference contradicts."""
    changes = []
    for value in dict.fromkeys(graph.outputs):
        if value.is_graph_input() or value.shape is None:
            continue
        _, shape = inferred.get(str(value.name), (None, None))
        if shape is not None and _contradict(value.shape, shape):
            detail = f"output {value.name!r} is declared with the shape {value.shape} and has {shape}"
            changes.append(Change(DECLARED_OUTPUTS, detail, (str(value.name),)))
            value.shape = shape
    return tuple(changes)


def _update(value: ir.Value, kind: ir.TypeProtocol, shape: ir.Shape | None) -> bool:
    """Takes over what inference found; whether that contradicts what was declared."""
    contradicts = False
    if value.type != kind:
        contradicts = value.type is not None
        value.type = with_element_type(kind, kind.dtype)  # a copy: types can be changed
    if shape is None or (value.shape is not None and shape == value.shape):
        return contradicts
    if value.shape is None or _contradict(value.shape, shape):
        contradicts |= value.shape is not None
        value.shape = shape
    else:
        value.shape = _merged(value.shape, shape)
    return contradicts


def _contradict(declared: ir.Shape, inferred: ir.Shape) -> bool:
    if len(declared) != len(inferred):
        return True
    pairs = zip(declared, inferred, strict=True)
    return any(isinstance(a, int) and isinstance(b, int) and a != b for a, b in pairs)


def _merged(declared: ir.Shape, inferred: ir.Shape) -> ir.Shape:
    """Numbers win; a declared name stays where inference has no number."""
    pairs = zip(declared, inferred, strict=True)
    return ir.Shape([b if isinstance(b, int) or (not isinstance(a, int) and a.value is None) else a for a, b in pairs])


def inferred_types(model: ir.Model) -> dict[str, Inferred]:
    """What onnx infers, by value name, names being unique over the model; empty where inference fails."""
    proto = serialize_undeclared(model, SMALL_TENSOR_BYTES)
    try:
        result = onnx.shape_inference.infer_shapes(proto, data_prop=True)
        if _declare_unknown(model.graph, result.graph, proto.graph):
            result = onnx.shape_inference.infer_shapes(proto, data_prop=True)
    except Exception as error:  # the C++ side raises many kinds; without inference the declared types stand
        logger.info("type inference failed: %s", one_line(error))
        return {}
    found: dict[str, Inferred] = {}
    known: dict[bytes, Inferred | None] = {}
    pending = [result.graph]
    while pending:
        graph = pending.pop()
        for info in (*graph.value_info, *graph.output):
            key = info.type.SerializeToString()
            if key not in known:
                known[key] = _read_type(info.type)
            read = known[key]
            if read is not None:
                found.setdefault(info.name, read)
        for node in graph.node:
            for attribute in node.attribute:
                pending.extend([attribute.g] if attribute.HasField("g") else [])
                pending.extend(attribute.graphs)
    return found


def _declare_unknown(graph: ir.Graph, inferred: onnx.GraphProto, undeclared: onnx.GraphProto) -> bool:
    """Declare in `undeclared` the shapes of outputs that nodes read and for which there is no inferred shape; whether
    there was one."""
    declared = False
    for value, found, output in zip(graph.outputs, inferred.output, undeclared.output, strict=True):
        kind = output.type.tensor_type
        unknown = not found.type.tensor_type.HasField("shape") and output.type.HasField("tensor_type")
        if unknown and value.shape is not None and value.uses():
            ir.serde.serialize_shape_into(output.type, value.shape)
            declared |= kind.HasField("shape")
    return declared


def _read_type(proto: onnx.TypeProto) -> Inferred | None:
    """The type and the (frozen) shape; None where inference found none, or a map, which onnx_ir does not hold."""
    try:
        kind = ir.serde.deserialize_type_proto_for_type(proto)
        shape = ir.serde.deserialize_type_proto_for_shape(proto)
    except (ir.serde.SerdeError, NotImplementedError, ValueError):
        return None
    return None if kind is None or kind.dtype == ir.DataType.UNDEFINED else (kind, shape)
