"""Statistics of weights: float initializers and the values of float Constant nodes, in all graphs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, reduce
from types import MappingProxyType

import numpy as np
import onnx_ir as ir

from autocast_core.calibrate.accumulator import Accumulator
from autocast_core.calibrate.branches import WHOLE_ELEMENTS
from autocast_core.calibrate.statistics import EMPTY, TensorStats, value_range
from autocast_core.config import Precision
from autocast_core.graph.constants import node_tensor, stored_bytes
from autocast_core.graph.walk import all_graphs
from autocast_core.model import chunks
from autocast_core.model.digest import hashed
from autocast_core.number_formats import FLOAT_DTYPES
from autocast_core.progress import Progress, ProgressCallback, silent

_UNSUSPICIOUS = 2.0**-10
_TIES_TO_ZERO = np.float32(2.0**-25)
"""Half the smallest subnormal number of binary16: a tie, which goes to the even zero."""


Scanned = Mapping[ir.TensorProtocol, TensorStats]
"""Statistics of large weights that were read already."""


def scan_weights(
    model: ir.Model,
    precision: Precision,
    progress: ProgressCallback = silent,
    scanned: Scanned = MappingProxyType({}),
) -> dict[str, TensorStats]:
    """Statistics by value name; weights are read in chunks and released, none is kept. Those `scanned` for the same
    precision are not read again.

    Small-value quantities are measured for FP16, every element examined. The sums of squares take a second read and are
    measured only where the counts allow a rounding error of more than twice that of normal numbers, and of tensors that
    are in memory anyway.
    ModelError where a weight cannot be read.
    """
    weights = dict(_weights(model))
    small = {name: tensor for name, tensor in weights.items() if _is_at_hand(tensor)}
    found = _small_stats(small, precision)
    large = {name: tensor for name, tensor in weights.items() if name not in small}
    done = sum(map(stored_bytes, small.values()))
    total = done + sum(tensor.nbytes for tensor in large.values())
    for name, tensor in large.items():
        progress(Progress("weights", done, total, "bytes"))
        found[name] = scanned[tensor] if tensor in scanned else _stats(tensor, precision)
        done += tensor.nbytes
    progress(Progress("weights", total, total, "bytes"))
    return found


class WeightScan:
    """Statistics of the large weights that nodes of the main graph read, one after the other in the order of use.

    A run that reads the same weights can take it along; `scanned` has what was read so far. ModelError where a weight
    cannot be read.
    """

    def __init__(self, model: ir.Model, precision: Precision) -> None:
        self._model, self._precision = model, precision
        self._read = 0
        self.scanned: dict[ir.TensorProtocol, TensorStats] = {}

    @cached_property
    def _tensors(self) -> Sequence[ir.TensorProtocol]:
        inputs = (value for node in self._model.graph for value in node.inputs if value is not None)
        read = dict.fromkeys(value.const_value for value in inputs if value.const_value is not None)
        return [tensor for tensor in read if tensor.dtype in FLOAT_DTYPES and not _is_at_hand(tensor)]

    @cached_property
    def _bytes(self) -> int:
        return sum(tensor.nbytes for tensor in self._tensors)

    @property
    def done(self) -> float:
        """The share of their bytes that was read."""
        return self._read / self._bytes if self._bytes else 1.0

    def advance(self) -> None:
        """Read the next weight."""
        tensor = self._tensors[len(self.scanned)]
        self.scanned[tensor] = _stats(tensor, self._precision)
        self._read += tensor.nbytes

    def release(self, share: float) -> None:
        """Nothing is kept."""


def _is_at_hand(tensor: ir.TensorProtocol) -> bool:
    return (
        type(tensor) is ir.Tensor
        and tensor.dtype == ir.DataType.FLOAT
        and stored_bytes(tensor) <= WHOLE_ELEMENTS * tensor.dtype.itemsize
    )


def _small_stats(weights: Mapping[str, ir.TensorProtocol], precision: Precision) -> dict[str, TensorStats]:
    """Of many small FP32 tensors at once, which one by one would cost more than their elements."""
    accumulator = Accumulator(tuple(weights), small=precision is Precision.FP16)
    arrays = [tensor.numpy() for tensor in weights.values()]
    left = accumulator.add_arrays(arrays, precision)
    return accumulator.stats() | {accumulator.names[i]: TensorStats.of(arrays[i], precision) for i in left}


def _weights(model: ir.Model) -> Iterator[tuple[str, ir.TensorProtocol]]:
    for graph in all_graphs(model.graph):
        for name, value in graph.initializers.items():
            if value.const_value is not None and value.const_value.dtype in FLOAT_DTYPES:
                yield name, value.const_value
        for node in graph:
            tensor = node_tensor(node)
            if tensor is not None and tensor.dtype in FLOAT_DTYPES and node.outputs[0].name:
                yield node.outputs[0].name, tensor


def _stats(tensor: ir.TensorProtocol, precision: Precision) -> TensorStats:
    blocks = hashed(tensor, chunks(tensor))
    counted = reduce(TensorStats.merge, (_counted(block, precision) for block in blocks), EMPTY)
    if (counted.rounding_error or 0.0) <= _UNSUSPICIOUS:
        return counted
    return reduce(TensorStats.merge, (TensorStats.of(chunk, precision) for chunk in chunks(tensor)), EMPTY)


def _counted(chunk: np.ndarray, precision: Precision) -> TensorStats:
    """TensorStats.of without the sums of squares, which cost ten times the rest."""
    values = chunk if chunk.dtype == np.float32 else chunk.astype(np.float32)
    lowest, highest, nonfinite = value_range(values)
    if precision is not Precision.FP16:
        return TensorStats(values.size, lowest, highest, nonfinite)
    if nonfinite or max(-lowest, highest) > precision.max:
        return replace(TensorStats.of(values, precision), sum_squares=None, rounding_sum_squares=None)
    magnitude = np.abs(values)
    to_zero = int(np.count_nonzero(magnitude <= _TIES_TO_ZERO))
    zeros = int(np.count_nonzero(magnitude == 0)) if to_zero else 0
    return TensorStats(
        count=values.size,
        min=lowest,
        max=highest,
        nonzero=values.size - zeros,
        underflow=to_zero - zeros,
        subnormal=int(np.count_nonzero(magnitude < np.float32(precision.smallest_normal))) - zeros,
        examined=values.size,
    )
