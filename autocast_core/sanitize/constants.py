"""Pass `constants`: every float Constant node holds a tensor.

- Turns ``value_float`` and ``value_floats`` of Constant nodes into ``value``: a tensor can hold any float type, those
  attributes mean FP32 (ONNX operator Constant, version 12).
- Does not act on other Constants, nor on a value that refers to an attribute of a function.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from autocast_core.config import ConversionConfig
from autocast_core.graph.walk import all_nodes
from autocast_core.sanitize.change import Change

_FLOATS = ("value_float", "value_floats")


def normalize_constants(model: ir.Model, config: ConversionConfig) -> tuple[Change, ...]:
    """Turn the float attributes of Constant nodes into tensors; see the module."""
    constants = [node for node in all_nodes(model.graph) if node.op_type == "Constant" and node.domain == ""]
    changed = [str(node.name) for node in constants if _normalize(node)]
    return (Change("constants", f"{len(changed)} Constant nodes hold tensors now", tuple(changed)),) if changed else ()


def _normalize(node: ir.Node) -> bool:
    for name in _FLOATS:
        attribute = node.attributes.get(name)
        if attribute is None or attribute.is_ref():
            continue
        array = np.array(attribute.value, dtype=np.float32)
        del node.attributes[name]
        node.attributes["value"] = ir.AttrTensor("value", ir.tensor(array, name=node.outputs[0].name))
        node.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
        node.outputs[0].shape = ir.Shape(array.shape)
        return True
    return False
