"""How many elements each tensor of the main graph has: from shapes, or by running a batch where these do not tell."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import closing

import numpy as np
import onnx_ir as ir

from autocast_core.calibrate.tensor_sizes import sizes_of
from autocast_core.errors import BackendError
from autocast_core.graph.names import unused_names
from autocast_core.operators import is_tensor
from autocast_core.runtime import Runtime

_LOG = logging.getLogger(__name__)


def measured_sizes(model: ir.Model, feeds: Mapping[str, np.ndarray], runtime: Runtime) -> dict[str, int]:
    """The number of elements of each tensor for one batch `feeds`, by name.

    What shapes do not tell is counted by `runtime`; where that cannot run the model, it is left out.
    """
    known = dict(sizes_of(model, feeds).counts)
    copy = model.clone()
    names = unused_names(copy.graph).numbered("size")
    unknown = [
        value
        for node in copy.graph
        for value in node.outputs
        if value.name and value.name not in known and value.type is not None and is_tensor(value)
    ]
    if not unknown:
        return known
    found = []
    for value in unknown:
        size = ir.Node("", "Size", [value], num_outputs=1, name=next(names))
        size.outputs[0].name, size.outputs[0].type = size.name, ir.TensorType(ir.DataType.INT64)
        size.outputs[0].shape = ir.Shape([])
        copy.graph.append(size)
        found.append(size.outputs[0])
    del copy.graph.outputs[:]
    copy.graph.outputs.extend(found)
    try:
        with closing(runtime.open(copy, few_runs=True, batches=(feeds,))) as session:
            counts = session.run(feeds)
    except BackendError as error:
        _LOG.warning("tensors of unknown size count as none: %s", error)
        return known
    return known | {str(value.name): int(count) for value, count in zip(unknown, counts, strict=True)}
