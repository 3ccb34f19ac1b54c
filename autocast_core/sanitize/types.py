"""Pass `types`: every tensor value has an element type, and what is inferred wins over what was declared.

- Infers element types and shapes of all values anew, bodies included. onnx.shape_inference runs on a copy of the graph
  without its weights and without the declarations of inner values, so that a stale declaration does not survive where
  inference knows better; a declared type or shape stays where inference yields none.
- Element types that are still missing come from the schemas of operators (`operators.inference`).
- Does not touch the types and shapes of the main graph's inputs, nor the declared shape of its outputs.
"""

from __future__ import annotations

import logging

import onnx
import onnx_ir as ir

from autocast_core.config import ConversionConfig
from autocast_core.graph.constants import SMALL_TENSOR_BYTES
from autocast_core.graph.names import defined_values
from autocast_core.graph.walk import all_graphs
from autocast_core.model.protobuf.serde import serialize_undeclared
from autocast_core.operators import infer_missing_types, with_element_type
from autocast_core.sanitize.change import Change
from autocast_core.text import one_line

logger = logging.getLogger(__name__)


def infer_types(model: ir.Model, config: ConversionConfig) -> tuple[Change, ...]:
    """Infer types and shapes; see the module."""
    inferred = _inferred(model)
    corrected = []
    fixed = {id(value) for value in (*model.graph.inputs, *model.graph.outputs, *model.graph.initializers.values())}
    for graph in all_graphs(model.graph):
        for value in defined_values(graph):
            found = inferred.get(str(value.name)) if value.name and id(value) not in fixed else None
            if found is not None and _update(value, *found):
                corrected.append(str(value.name))
    infer_missing_types(model)
    if not corrected:
        return ()
    shown = ", ".join(corrected[:3]) + (", …" if len(corrected) > 3 else "")
    return (Change("types", f"corrected the declared type or shape of {len(corrected)} values: {shown}"),)


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


def _inferred(model: ir.Model) -> dict[str, tuple[ir.TypeProtocol, ir.Shape | None]]:
    """What onnx infers, by value name, names being unique over the model; empty where inference fails."""
    proto = serialize_undeclared(model, SMALL_TENSOR_BYTES)
    try:
        result = onnx.shape_inference.infer_shapes(proto, data_prop=True)
    except Exception as error:  # the C++ side raises many kinds; without inference the declared types stand
        logger.info("type inference failed: %s", one_line(error))
        return {}
    found: dict[str, tuple[ir.TypeProtocol, ir.Shape | None]] = {}
    known: dict[bytes, tuple[ir.TypeProtocol, ir.Shape | None] | None] = {}
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


def _read_type(proto: onnx.TypeProto) -> tuple[ir.TypeProtocol, ir.Shape | None] | None:
    """The type and the (frozen) shape; None where inference found none, or a map, which onnx_ir does not hold."""
    try:
        kind = ir.serde.deserialize_type_proto_for_type(proto)
        shape = ir.serde.deserialize_type_proto_for_shape(proto)
    except (ir.serde.SerdeError, NotImplementedError, ValueError):
        return None
    return None if kind is None or kind.dtype == ir.DataType.UNDEFINED else (kind, shape)
