"""Casts: one for each value and type, where a reader requests another type than the value has.

A cast stands right behind the producer of its value, in the value's own scope, so that it dominates every reader, those
in bodies too. A Cast of the source model counts as a version of its input: what it makes is not made twice, and what it
undoes is not done.
"""

from __future__ import annotations

import onnx_ir as ir

from autocast_core.apply.uses import cast_target
from autocast_core.errors import UnconvertibleError
from autocast_core.graph.names import UnusedNames
from autocast_core.number_formats import LOW_DTYPES
from autocast_core.operators import element_type, is_tensor, with_element_type

SUFFIX = {ir.DataType.FLOAT: "fp32", ir.DataType.FLOAT16: "fp16", ir.DataType.BFLOAT16: "bf16"}


CastIdentity = tuple[ir.Value, ir.DataType, ir.Graph | ir.Function | None]
"""What is cast, to which type, in which graph."""


class Casts:
    """The versions of each value in other types; inserts a Cast where one is missing."""

    def __init__(self, names: UnusedNames) -> None:
        self._names = names
        self._versions: dict[CastIdentity, ir.Value] = {}
        self._at_start: dict[ir.Graph, list[ir.Node]] = {}
        self._last: dict[ir.Node, ir.Node] = {}
        self._placed: set[ir.Node] = set()
        self.inserted = 0

    def register(self, cast: ir.Node) -> ir.Value | None:
        """Note a Cast of the source model; returns the output of an earlier one that does the same in its graph."""
        identity = cast_identity(cast)
        if identity is None:
            return None
        earlier = self._versions.setdefault(identity, cast.outputs[0])
        return None if earlier is cast.outputs[0] else earlier

    def version(self, value: ir.Value, dtype: ir.DataType, scope: ir.Graph | None = None) -> ir.Value:
        """`value` as `dtype`, by an existing Cast or a new one.

        `scope`: the graph whose output it becomes and which must therefore produce it. UnconvertibleError for a value
        that no Cast takes (a sequence or an optional).
        """
        if element_type(value) == dtype:
            return value
        origin = self._origin(value, dtype)
        if element_type(origin) == dtype and (scope is None or may_be_output(origin, scope)):
            return origin
        value = origin
        if not is_tensor(value):
            raise UnconvertibleError(
                f"value {value.name!r} is a {value.type}: it cannot be cast, so the nodes that share it need one "
                f"precision; exclude or include them together"
            )
        graph = scope if scope is not None else value.graph
        key = (value, dtype, graph)
        found = self._versions.get(key)
        if found is None or (scope is not None and found.is_graph_output()):
            found = self._versions[key] = self._insert(value, dtype, graph)
        else:
            self._move_up(found, value)
        return found

    def place_at_start(self) -> None:
        """Put the casts of graph inputs and initializers at the start of their graphs."""
        for graph, casts in self._at_start.items():
            if len(graph):
                graph.insert_before(graph[0], casts)
            else:
                graph.extend(casts)

    def _origin(self, value: ir.Value, dtype: ir.DataType) -> ir.Value:
        """What to cast instead: the 16-bit input of a widening Cast, whose detour through FP32 changes nothing."""
        source = narrow_source(value) if dtype in LOW_DTYPES else None
        return source if source is not None else value

    def _insert(self, value: ir.Value, dtype: ir.DataType, graph: ir.Graph | None) -> ir.Value:
        name = self._names.fresh(f"{value.name}_cast_{SUFFIX[dtype]}")
        cast = ir.Node("", "Cast", [value], [ir.AttrInt64("to", int(dtype))], num_outputs=1, name=name)
        output = cast.outputs[0]
        output.name = name
        assert value.type is not None
        output.type = with_element_type(value.type, dtype)
        output.shape = value.shape
        producer = value.producer()
        assert graph is not None
        if producer is None or producer.graph is not graph:
            self._at_start.setdefault(graph, []).append(cast)
        else:
            graph.insert_after(self._last.get(producer, producer), cast)
            self._last[producer] = cast
        self._placed.add(cast)
        self.inserted += 1
        return output

    def _move_up(self, version: ir.Value, value: ir.Value) -> None:
        """A Cast of the source model may stand behind a reader that now requests it: put it behind its producer."""
        cast, producer = version.producer(), value.producer()
        if cast is None or cast.graph is None or cast in self._placed:
            return
        self._placed.add(cast)
        graph = cast.graph
        if producer is None:
            graph.remove(cast)
            self._at_start.setdefault(graph, []).append(cast)
        elif producer.graph is graph:
            graph.remove(cast)
            graph.insert_after(producer, cast)
            self._last.setdefault(producer, cast)


def cast_identity(cast: ir.Node) -> CastIdentity | None:
    """Equal for Casts that do the same in one graph; None for one whose attributes say how it rounds."""
    source, to = cast.inputs[0], cast_target(cast)
    if source is None or to is None or "saturate" in cast.attributes or "round_mode" in cast.attributes:
        return None
    return source, to, cast.graph


def narrow_source(value: ir.Value) -> ir.Value | None:
    """The 16-bit value that a Cast made `value` of, which is FP32; None where none did."""
    producer = value.producer()
    source = producer.inputs[0] if producer is not None and cast_target(producer) == ir.DataType.FLOAT else None
    return source if source is not None and element_type(source) in LOW_DTYPES else None


def may_be_output(value: ir.Value, graph: ir.Graph) -> bool:
    """Whether the value may become one more output of `graph`: a node of that graph makes it, and it is not one yet."""
    producer = value.producer()
    return producer is not None and producer.graph is graph and not value.is_graph_output()
