"""How many elements each tensor of the main graph has for one batch, and how much memory a run takes."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import onnx.numpy_helper
import onnx.shape_inference
import onnx_ir as ir

from autocast_core.model.protobuf.serde import serialize_undeclared
from autocast_core.model.protobuf.skeleton import LARGE_BYTES

if TYPE_CHECKING:
    import onnx

_LOG = logging.getLogger(__name__)
Dims = tuple[int | str | None, ...] | None
_INT = frozenset({int})
FLOAT_BYTES = 4
"""Of one element."""
_MOST_LENGTHS = 8
"""An integer input of at most so many elements may say the lengths of a tensor's dimensions."""


@dataclass(frozen=True)
class Sizes:
    """By value name: static shapes, and for other values, in `symbolic`, their shapes with symbols."""

    static: Mapping[str, tuple[int, ...]]
    symbolic: Mapping[str, tuple[int | str | None, ...]]

    @cached_property
    def counts(self) -> Mapping[str, int]:
        """The number of elements of each value with a static shape."""
        return {name: math.prod(dims) for name, dims in self.static.items()}


def sizes_of(model: ir.Model, feeds: Mapping[str, np.ndarray]) -> Sizes:
    """What is known of the sizes of the main graph's tensors for a batch with the shapes of `feeds`.

    The model's own shapes with the inputs' symbols filled in answer for static and well-annotated models; where a
    symbol stays open, shape inference runs once on the structure with these input shapes.
    """
    shapes = _declared(model, feeds)
    if not all(map(_is_static, shapes.values())):
        shapes |= {name: dims for name, dims in _inferred(model, feeds).items() if not _is_static(shapes.get(name, ()))}
    return _sizes(shapes)


def declared_sizes(model: ir.Model, feeds: Mapping[str, np.ndarray]) -> Sizes:
    """As `sizes_of`, without shape inference."""
    return _sizes(_declared(model, feeds))


def _declared(model: ir.Model, feeds: Mapping[str, np.ndarray]) -> dict[str, Dims]:
    lengths = _symbols(model, feeds)
    values = [
        value
        for values in (model.graph.inputs, *(node.outputs for node in model.graph))
        for value in values
        if value.type is None or isinstance(value.type, ir.TensorType)
    ]
    shapes = {str(value.name): _filled(value.shape, lengths) for value in values if value.name}
    return shapes | {name: np.shape(array) for name, array in feeds.items() if name in shapes}


def _sizes(shapes: Mapping[str, Dims]) -> Sizes:
    return Sizes(
        {name: dims for name, dims in shapes.items() if _is_static(dims)},  # type: ignore[misc]
        {name: dims for name, dims in shapes.items() if dims is not None and None not in dims and not _is_static(dims)},
    )


def peak_bytes(model: ir.Model, counts: Mapping[str, int]) -> int:
    """The least memory that the activations of one run take: the most that is alive at one node, 4 bytes an element.

    A tensor lives from the node that makes it to the last that reads it, in graph order. Tensors of unknown size do not
    count, nor do weights: they are mapped from their files, and the system takes such pages back when it needs them.
    """
    nodes = list(model.graph)
    last_use = {value: index for index, node in enumerate(nodes) for value in node.inputs if value is not None}
    alive = peak = 0
    dying: dict[int, int] = {}
    for index, node in enumerate(nodes):
        for value in node.outputs:
            size = counts.get(str(value.name), 0) * FLOAT_BYTES
            alive += size
            end = last_use.get(value, index)
            dying[end] = dying.get(end, 0) + size
        peak = max(peak, alive)
        alive -= dying.pop(index, 0)
    return peak


def _symbols(model: ir.Model, feeds: Mapping[str, np.ndarray]) -> dict[str, int]:
    lengths: dict[str, int] = {}
    for value in model.graph.inputs:
        array = feeds.get(str(value.name))
        if value.shape is None or not isinstance(array, np.ndarray) or len(value.shape) != array.ndim:
            continue
        named = zip(value.shape, array.shape, strict=True)
        lengths.update({dim.value: n for dim, n in named if isinstance(dim, ir.SymbolicDim) and dim.value is not None})
    return lengths


def _filled(shape: ir.Shape | None, lengths: Mapping[str, int]) -> Dims:
    if shape is None:
        return None
    return tuple(dim if isinstance(dim, int) else lengths.get(str(dim.value), dim.value) for dim in shape)


def _is_static(dims: Dims) -> bool:
    return dims is not None and _INT.issuperset(map(type, dims))


def _inferred(model: ir.Model, feeds: Mapping[str, np.ndarray]) -> dict[str, Dims]:
    """By shape inference of the structure with the shapes of `feeds`, and with the values of those that may be lengths;
    empty where that fails."""
    proto = serialize_undeclared(model, LARGE_BYTES)
    for value in tuple(proto.graph.input):
        array = feeds.get(value.name)
        if isinstance(array, np.ndarray) and value.type.HasField("tensor_type"):
            del value.type.tensor_type.shape.dim[:]
            for length in array.shape:
                value.type.tensor_type.shape.dim.add().dim_value = length
            if array.dtype == np.int64 and array.ndim <= 1 and array.size <= _MOST_LENGTHS:
                proto.graph.initializer.append(onnx.numpy_helper.from_array(array, value.name))
                proto.graph.input.remove(value)
    try:
        proto = onnx.shape_inference.infer_shapes(proto, data_prop=True)
    except Exception as error:  # the C++ side raises many kinds; sizes are then unknown
        _LOG.debug("shapes of the calibration run could not be inferred: %s", error)
        return {}
    return {
        value.name: tuple(_dim(dim) for dim in value.type.tensor_type.shape.dim)
        for value in (*proto.graph.value_info, *proto.graph.output)
        if value.type.tensor_type.HasField("shape")
    }


def _dim(dim: onnx.TensorShapeProto.Dimension) -> int | str | None:
    return dim.dim_value if dim.HasField("dim_value") else dim.dim_param or None
