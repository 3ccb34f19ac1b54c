"""Several versions of one model as one graph that computes what they have in common once."""

from __future__ import annotations

import copy
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import onnx_ir as ir

from autocast_core.graph.names import unused_names
from autocast_core.graph.walk import bodies
from autocast_core.model.value_numbers import node_key, weight_key


def merge_models(models: Sequence[ir.Model]) -> ir.Model:
    """One model with the outputs of all `models`, one after the other, each computed exactly as in its own model.

    The models have the same inputs, by name, and no functions. Nodes are shared where operator, attributes and inputs
    are the same (value numbering: Cocke, Schwartz, Programming Languages and Their Compilers, 1970); nodes with bodies
    are not. The first model is taken over and changed, the others' bodies are copied; weights are shared.
    """
    first, *others = models
    if others:
        merger = _Merger.of(first)
        for model in others:
            merger.add(model)
    return first


@dataclass
class _Merger:
    """`known` has the outputs of the nodes of `model`, `weights` its initializers, by what they are; `inputs` are its
    inputs by name, and `names` are free in it."""

    model: ir.Model
    inputs: dict[str | None, ir.Value]
    names: Iterator[str]
    known: dict[Hashable, tuple[ir.Value, ...]] = field(default_factory=dict)
    weights: dict[Hashable, ir.Value] = field(default_factory=dict)

    @staticmethod
    def of(model: ir.Model) -> _Merger:
        """A merger that knows what `model` computes."""
        graph = model.graph
        inputs = {value.name: value for value in graph.inputs}
        merger = _Merger(model, inputs, unused_names(graph).numbered("beside"))
        for value in graph.initializers.values():
            merger.weights.setdefault(weight_key(value), value)
        for node in graph:
            merger.known.setdefault(node_key(node, node.inputs), tuple(node.outputs))
        return merger

    def add(self, model: ir.Model) -> None:
        """Adds the nodes that `model` has more, and its outputs."""
        here: dict[ir.Value, ir.Value] = {value: self.inputs[value.name] for value in model.graph.inputs}
        for value in model.graph.initializers.values():
            here.setdefault(value, self._weight(value))
        for node in model.graph:
            inputs = [None if value is None else here[value] for value in node.inputs]
            key = node_key(node, inputs)
            if key not in self.known:
                self.known[key] = self._copied(node, inputs, here)
            here.update(zip(node.outputs, self.known[key], strict=True))
        self.model.graph.outputs.extend(here[value] for value in model.graph.outputs)

    def _weight(self, value: ir.Value) -> ir.Value:
        key = weight_key(value)
        if key not in self.weights:
            # Another tensor object: writing a model names its tensors, and another thread may be writing this one.
            tensor = copy.copy(value.const_value)
            added = ir.Value(name=next(self.names), type=value.type, shape=value.shape, const_value=tensor)
            self.model.graph.register_initializer(added)
            self.weights[key] = added
        return self.weights[key]

    def _copied(
        self, node: ir.Node, inputs: Sequence[ir.Value | None], here: Mapping[ir.Value, ir.Value]
    ) -> tuple[ir.Value, ...]:
        clone = ir.Node(
            node.domain,
            node.op_type,
            inputs,
            [self._attribute(attribute, here) for attribute in node.attributes.values()],
            overload=node.overload,
            num_outputs=len(node.outputs),
            name=next(self.names),
        )
        for before, after in zip(node.outputs, clone.outputs, strict=True):
            after.name = next(self.names) if before.name else ""
            after.type, after.shape = before.type, before.shape
        self.model.graph.append(clone)
        return tuple(clone.outputs)

    def _attribute(self, attribute: ir.Attr, here: Mapping[ir.Value, ir.Value]) -> ir.Attr:
        if attribute.type == ir.AttributeType.GRAPH:
            return ir.AttrGraph(attribute.name, self._body(attribute.as_graph(), here))
        if attribute.type == ir.AttributeType.GRAPHS:
            return ir.AttrGraphs(attribute.name, [self._body(graph, here) for graph in attribute.as_graphs()])
        return attribute

    def _body(self, graph: ir.Graph, here: Mapping[ir.Value, ir.Value]) -> ir.Graph:
        """A copy that reads from this model what it captured; its names are new, for bodies see those around them."""
        clone = graph.clone(allow_outer_scope_values=True)
        for inner in _graphs(clone):
            for value in (*inner.inputs, *inner.initializers.values(), *(v for n in inner for v in n.outputs)):
                if value.name:
                    value.name = next(self.names)
            for node in inner:
                for index, captured in enumerate(node.inputs):
                    if captured is not None and captured in here:
                        node.replace_input_with(index, here[captured])
            inner.outputs[:] = [here.get(value, value) for value in inner.outputs]
        return clone


def _graphs(graph: ir.Graph) -> Iterator[ir.Graph]:
    yield graph
    for node in graph:
        for _, body in bodies(node):
            yield from _graphs(body)
