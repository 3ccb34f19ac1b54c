"""A model with 16-bit tensors as an FP32 model that rounds where it rounds."""

from __future__ import annotations

from collections.abc import Collection

import onnx_ir as ir

from autocast_core.graph.walk import all_graphs
from autocast_core.model import ConvertedTensor
from autocast_core.number_formats import LOW_DTYPES
from autocast_core.operators import element_type, infer_missing_types, type_string, with_element_type
from autocast_core.operators.families import HANDS_ON, TYPE_ATTRIBUTES, is_in
from autocast_core.operators.signature import find_signature
from autocast_core.simulate.accumulation import ATTENTION, Accumulate, attention_products, is_modelled, write_out
from autocast_core.simulate.roundtrip import RoundTrips

_OWN_TYPE_ATTRIBUTES = TYPE_ATTRIBUTES - {"to"}
"""Those of other operators than Cast, whose outputs are rounded instead."""
_READS_BITS = frozenset({"BitCast"})
_INLINE_BYTES = 4096
_FLOAT = ir.DataType.FLOAT


def simulate(
    model: ir.Model, accumulate: Accumulate = Accumulate.FP32, spared: Collection[str] = frozenset()
) -> ir.Model:
    """A new model in FP32 that computes what `model` does, with its roundings; see the package. Weights are shared.

    `accumulate` says what happens inside nodes of 16-bit types: other values than FP32 give bounds, see `accumulation`.
    Nodes of the operator types in `spared` are FP32 inside all the same, with `ATTENTION` the products of attention
    cores.

    Inputs and outputs keep their names and become FP32. Casts between float types become roundings. Operators without
    an FP32 form, and those of unknown domains, keep 16-bit operands between Casts. Any model is taken, also one that
    another tool converted, and one with FP16 and BF16 together; one without 16-bit tensors comes back as it is.
    """
    return simulate_in_place(model.clone(), accumulate, spared)


def simulate_in_place(
    model: ir.Model, accumulate: Accumulate = Accumulate.FP32, spared: Collection[str] = frozenset()
) -> ir.Model:
    """`simulate` on `model` itself, for a caller that has no other use for it."""
    if model.functions:
        from onnx_ir.passes.common import InlinePass  # noqa: PLC0415 - takes a tenth of a second

        InlinePass()(model)
    infer_missing_types(model)
    simulation = _Simulation(model)
    products = attention_products(model.graph) if ATTENTION in spared else ()
    inside = [
        (node, dtype)
        for node, dtype in simulation.insides(accumulate)
        if node.op_type not in spared and node not in products
    ]
    simulation.run()
    for node, dtype in inside:
        write_out(node, dtype, accumulate, simulation.trips.names, model.opset_imports.get("", 1))
    return model


class _Simulation:
    """Rewrites one model in place. `low` has the 16-bit type of every value that had one."""

    def __init__(self, model: ir.Model) -> None:
        self.model = model
        self.trips = RoundTrips(model)
        self.graphs = list(all_graphs(model.graph))
        self.low: dict[ir.Value, ir.DataType] = {}
        for graph in self.graphs:
            for value in (*graph.inputs, *graph.initializers.values(), *(v for n in graph for v in n.outputs)):
                dtype = element_type(value)
                if dtype in LOW_DTYPES:
                    self.low[value] = dtype

    def insides(self, accumulate: Accumulate) -> list[tuple[ir.Node, ir.DataType]]:
        """The nodes of 16-bit types whose insides `accumulate` models, with their types."""
        found = []
        for graph in self.graphs if accumulate is not Accumulate.FP32 else ():
            for node in graph:
                dtype = self.low.get(node.outputs[0]) if node.outputs else None
                if dtype is not None and is_modelled(node, dtype, accumulate):
                    found.append((node, dtype))
        return found

    def run(self) -> None:
        for graph in self.graphs:
            nodes = list(graph)
            self._inputs(graph)
            self._initializers(graph)
            for node in nodes:
                self._node(node)

    def _inputs(self, graph: ir.Graph) -> None:
        for value in graph.inputs:
            dtype = self.low.get(value)
            if dtype is None:
                continue
            _make_float(value)
            # What enters a body was rounded outside. An input that is an output has no second name to be rounded under.
            if graph is self.model.graph and isinstance(value.type, ir.TensorType):
                self.low[self.trips.at_start(graph, value, dtype, value.uses())] = dtype

    def _initializers(self, graph: ir.Graph) -> None:
        for value in list(graph.initializers.values()):
            tensor, dtype = value.const_value, self.low.get(value)
            if tensor is None or dtype is None or tensor.dtype not in LOW_DTYPES:
                continue
            large = tensor.nbytes > _INLINE_BYTES and graph is self.model.graph
            if large and not value.is_graph_output() and not value.is_graph_input():
                # Cast back at run time: the weight stays in its file, and FP32 copies come and go one at a time.
                whole = [use for use in value.uses() if not _picks_rows(*use)]
                if whole:
                    self.low[self.trips.at_start(graph, value, dtype, whole)] = dtype
            else:
                value.const_value = ConvertedTensor(tensor, _FLOAT)
                _make_float(value)

    def _node(self, node: ir.Node) -> None:
        if node.op_type == "Cast" and node.domain == "":
            was_low = node.inputs[0] in self.low
            self._round_outputs(node)
            if was_low:
                _hand_on(node)
        elif node.op_type == "CastLike" and node.domain == "":
            self._cast_like(node)
        elif _picks_rows(node, 0) and node.inputs[0] is not None and node.inputs[0].dtype in LOW_DTYPES:
            # Of a large weight, which was left as it is: what is read of it is cast back, not all of it.
            self._round_outputs(node)
        elif any(value in self.low for value in (*node.inputs, *node.outputs) if value is not None):
            if self._stays(node):
                self._between_casts(node)
                return
            _float_attributes(node)
            for value in node.outputs:
                if value in self.low:
                    _make_float(value)
            if not is_in(node, HANDS_ON):
                self._round_outputs(node)
        else:
            _float_attributes(node)

    def _round_outputs(self, node: ir.Node) -> None:
        for value in tuple(node.outputs):
            if value in self.low and value.name and isinstance(value.type, ir.TensorType):
                self.low[self.trips.behind(node, value, self.low[value])] = self.low[value]

    def _cast_like(self, node: ir.Node) -> None:
        """A Cast to the type that the second input had."""
        target = element_type(node.outputs[0])
        if target in LOW_DTYPES:
            node.op_type = "Cast"
            node.resize_inputs(1)
            node.attributes["to"] = ir.AttrInt64("to", int(target))
            self._round_outputs(node)

    def _stays(self, node: ir.Node) -> bool:
        """Whether the operator has no form in which its 16-bit operands are FP32."""
        if node.op_type in _READS_BITS:
            return True
        signature = find_signature(node.domain, node.op_type, self.model.opset_imports.get(node.domain, 1))
        if signature is None:
            return True
        declared = [(v, signature.input_type(i)) for i, v in enumerate(node.inputs) if v in self.low]
        declared += [(v, signature.output_type(i)) for i, v in enumerate(node.outputs) if v in self.low]
        return not all(signature.admits(kind, type_string(v.type, _FLOAT)) for v, kind in declared if v and v.type)

    def _between_casts(self, node: ir.Node) -> None:
        for index, value in enumerate(node.inputs):
            if value is not None and value in self.low and isinstance(value.type, ir.TensorType):
                narrowed = self.trips.cast(value, self.low[value])
                node.prepend(narrowed)
                node.replace_input_with(index, narrowed.outputs[0])
        self._round_outputs(node)


def _hand_on(cast: ir.Node) -> None:
    """Make a Cast of what was 16 bits and is FP32 now an Identity, under the same names.

    ONNX Runtime 1.24.4 removes Casts to the type that a value has itself, and refuses some graphs after it ("Node input
    is not a graph input, initializer, or output of a previous node").
    """
    value, same = cast.inputs[0], cast.outputs[0]
    if value is not None and element_type(value) == element_type(same) == _FLOAT:
        cast.op_type = "Identity"
        cast.attributes.clear()


def _picks_rows(node: ir.Node, index: int) -> bool:
    """Whether the node picks rows of its operand number `index`, as of a table of embeddings."""
    return node.op_type == "Gather" and node.domain == "" and index == 0


def _make_float(value: ir.Value) -> None:
    if value.type is not None:
        value.type = with_element_type(value.type, _FLOAT)


def _float_attributes(node: ir.Node) -> None:
    """FP32 instead of a 16-bit type wherever an attribute names or holds one."""
    for name, attribute in list(node.attributes.items()):
        if attribute.is_ref():
            continue
        if attribute.type == ir.AttributeType.INT and name in _OWN_TYPE_ATTRIBUTES and attribute.value in _LOW_NUMBERS:
            node.attributes[name] = ir.AttrInt64(name, int(_FLOAT))
        elif attribute.type == ir.AttributeType.TENSOR and attribute.value.dtype in LOW_DTYPES:
            node.attributes[name] = ir.AttrTensor(name, ConvertedTensor(attribute.value, _FLOAT))
        elif attribute.type == ir.AttributeType.TYPE_PROTO and attribute.value.type.dtype in LOW_DTYPES:
            kind = with_element_type(attribute.value.type, _FLOAT)
            node.attributes[name] = ir.AttrTypeProto(name, ir.TypeAndShape(kind, attribute.value.shape))


_LOW_NUMBERS = frozenset(int(dtype) for dtype in LOW_DTYPES)
