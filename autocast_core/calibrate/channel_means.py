"""The mean of what products read, channel by channel, over data; reduced in the running graph."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from autocast_core.calibrate.temporary_nodes import TemporaryNodes
from autocast_core.graph.names import unused_names
from autocast_core.operators.biases import WEIGHT, has_transposed_weight
from autocast_core.runtime import Runtime


def channel_means(
    model: ir.Model, products: Sequence[ir.Node], batches: Iterable[Mapping[str, Any]], runtime: Runtime
) -> dict[ir.Value, NDArray[np.float64]]:
    """By the first input of `products` (MatMul, Gemm and Conv of the main graph) its means, FP64 [channels].

    Channels are along the last axis, for Conv along the second. Each batch counts alike, and there must be one.
    `model` is changed while its session is opened and put back. BackendError where it cannot be run.
    """
    first = {product.inputs[0]: product for product in reversed(products)}
    operands = {value: product for value, product in first.items() if value is not None}
    names = unused_names(model.graph).numbered("mean")
    with ExitStack() as undo:
        writer = TemporaryNodes(model.graph, names, model.opset_imports.get("", 1), undo)
        means = [_mean(writer, value, product) for value, product in operands.items()]
        writer.commit()
        writer.set_outputs(means)
        session = runtime.open(model)
    with closing(session):
        runs = [session.run(feeds) for feeds in batches]
    return {
        value: np.asarray([found[number] for found in runs], np.float64).mean(axis=0)
        for number, value in enumerate(operands)
    }


def _mean(writer: TemporaryNodes, value: ir.Value, product: ir.Node) -> ir.Value:
    if product.op_type == "Conv":
        value, shape = writer("GlobalAveragePool", value), [0, -1]
    else:
        weight = product.inputs[WEIGHT]
        assert weight is not None and weight.shape is not None
        shape = [-1, int(weight.shape.numpy()[1 if has_transposed_weight(product) else 0])]
    rows = writer("Reshape", value, writer.constant(np.array(shape)))
    return writer.reduced("ReduceMean", rows)
