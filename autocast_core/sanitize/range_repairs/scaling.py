"""Multiplying an edge or a constant of a graph by a number: what all repairs of range do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from autocast_core.graph.constants import constant_tensor, drop_if_unread
from autocast_core.graph.names import UnusedNames

LARGEST_CONSTANT = 1 << 16
"""Elements of the largest constant that is copied and scaled: biases and epsilons, not matrices."""

Magnitude = Callable[[ir.Value], float | None]
"""The largest magnitude of a value over the calibration data; None where nothing is known."""
Rescaled = dict[str, tuple[str, float]]
"""By value name: of which value of the graph before, and by what factor, it holds the numbers."""


@dataclass
class Scaling:
    """Scales edges of one model; `rescaled` notes whose numbers the new values hold. `names` are unused ones."""

    names: UnusedNames
    rescaled: Rescaled = field(default_factory=dict)
    _made: dict[tuple[ir.Value, float], ir.Value] = field(default_factory=dict)
    _factors: dict[float, ir.Value] = field(default_factory=dict)

    def scale_edge(self, node: ir.Node, index: int, factor: float, *, share: float) -> None:
        """Input `index` of `node` times `factor`, by a Mul directly behind the value, which all readers that ask share.

        `share` is what the new value holds, relative to the value's numbers before the repair.
        """
        value, graph = node.inputs[index], node.graph
        assert value is not None and isinstance(graph, ir.Graph)
        scaled = self._made.get((value, factor))
        if scaled is None:
            by = self._factor(factor, graph)
            product = ir.Node("", "Mul", [value, by], num_outputs=1, name=self.names.fresh(f"{value.name}_scaling"))
            scaled = product.outputs[0]
            scaled.name = self.names.fresh(f"{value.name}_scaled")
            scaled.type, scaled.shape = value.type, value.shape
            maker = value.producer()
            if maker is not None and maker.graph is graph:
                graph.insert_after(maker, product)
            else:
                graph.insert_before(graph[0], product)
            self._made[value, factor] = scaled
            self.note(scaled, value, share)
        node.replace_input_with(index, scaled)

    def note(self, value: ir.Value, source: ir.Value, factor: float) -> None:
        """Note that `value` holds `factor` times the numbers that `source` held before the repair."""
        name, earlier = (
            self.rescaled.get(str(source.name), (str(source.name), 1.0)) if value is source else (str(source.name), 1.0)
        )
        self.rescaled[str(value.name)] = name, earlier * factor

    def scale_constant(self, node: ir.Node, index: int, factor: float) -> None:
        """The constant at input `index` of `node` times `factor`, as a copy; other readers keep it."""
        value = node.inputs[index]
        tensor = constant_tensor(value)
        assert value is not None and tensor is not None and isinstance(node.graph, ir.Graph)
        array = (tensor.numpy() * np.float32(factor)).astype(np.float32)
        node.replace_input_with(index, self._constant(array, f"{value.name}_scaled", node.graph))
        drop_if_unread(value)

    def _factor(self, factor: float, graph: ir.Graph) -> ir.Value:
        if factor not in self._factors:
            self._factors[factor] = self._constant(np.array(factor, np.float32), "range_factor", graph)
        return self._factors[factor]

    def _constant(self, array: np.ndarray, name: str, graph: ir.Graph) -> ir.Value:
        """A new initializer of `graph` with `array`."""
        fresh = self.names.fresh(name)
        tensor = ir.tensor(array, name=fresh)
        value = ir.Value(name=fresh, type=ir.TensorType(tensor.dtype), shape=ir.Shape(array.shape), const_value=tensor)
        graph.register_initializer(value)
        return value


def is_scalable(value: ir.Value | None) -> bool:
    """Whether `value` is an FP32 constant of at most LARGEST_CONSTANT elements."""
    tensor = constant_tensor(value)
    return tensor is not None and tensor.dtype == ir.DataType.FLOAT and tensor.size <= LARGEST_CONSTANT
