"""A model without its weights, for what looks only at the structure."""

from __future__ import annotations

import onnx
import onnx_ir as ir

from autocast_core.model.pieces import as_stub, exchanged, is_weight
from autocast_core.model.serde import serialize

WEIGHTS_LOCATION = "weights"


def structure_proto(model: ir.Model) -> onnx.ModelProto:
    """`model` with a reference into a file "weights", which need not exist, in the place of every large tensor.

    Shape inference and the checker need no more; small tensors, whose values shapes depend on, are there.
    """

    def stub(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
        return as_stub(tensor, WEIGHTS_LOCATION) if is_weight(tensor) else tensor

    with exchanged(model, stub):
        return serialize(model)
