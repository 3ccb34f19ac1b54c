"""The mean of what products read, channel by channel, over data; reduced in the running graph."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from autocast_core.calibrate.temporary_nodes import TemporaryNodes
from autocast_core.graph.constants import constant_tensor
from autocast_core.graph.names import unused_names
from autocast_core.operators.biases import WEIGHT, has_transposed_weight
from autocast_core.runtime import Runtime


def channel_means(
    model: ir.Model, products: Sequence[ir.Node], batches: Iterable[Mapping[str, Any]], runtime: Runtime
) -> dict[ir.Node, NDArray[np.float64]]:
    """The means of the first input of each of `products` (MatMul, Gemm and Conv of the main graph), FP64 [channels].

    Channels are along the last axis, for Conv along the second. Each batch counts alike, and there must be one.
    `model` is changed while its session is opened and put back. BackendError where it cannot be run.
    """
    names = unused_names(model.graph).numbered("mean")
    with ExitStack() as undo:
        writer = TemporaryNodes(model.graph, names, model.opset_imports.get("", 1), undo)
        means = {product: _mean(writer, product) for product in products}
        outputs = list(dict.fromkeys(means.values()))
        writer.commit()
        writer.set_outputs(outputs)
        session = runtime.open(model)
    with closing(session):
        runs = [session.run(feeds) for feeds in batches]
    values = {
        output: np.asarray([found[number] for found in runs], np.float64).mean(axis=0)
        for number, output in enumerate(outputs)
    }
    return {product: values[output] for product, output in means.items()}


def _mean(writer: TemporaryNodes, product: ir.Node) -> ir.Value:
    """The mean of the product's first input, once for all that read it along the same axis."""
    value, weight = product.inputs[0], constant_tensor(product.inputs[WEIGHT])
    assert value is not None and weight is not None
    convolves, dims = product.op_type == "Conv", weight.shape.numpy()
    shape = [0, -1] if convolves else [-1, dims[1] if has_transposed_weight(product) else dims[0]]

    def made() -> ir.Value:
        pooled = writer("GlobalAveragePool", value) if convolves else value
        return writer.reduced("ReduceMean", writer("Reshape", pooled, writer.constant(np.array(shape))))

    return writer.once((value, convolves), made)
