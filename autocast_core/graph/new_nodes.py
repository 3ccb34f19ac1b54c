"""Nodes made by the thousand, to be added to a graph while something is measured or simulated.

onnx_ir's `ir.node` and `ir.tensor` find out the kinds of attributes and tensors by runtime protocols, which took half
of the time of instrumenting the bodies of a model; here the kinds are known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

AttributeValue = int | Sequence[int] | np.ndarray


def new_node(
    op_type: str, inputs: Sequence[ir.Value | None], attributes: Mapping[str, AttributeValue], name: str
) -> ir.Node:
    """A node of the default domain, in no graph yet, with one output; both are called `name`."""
    made = [_attribute(each, value) for each, value in attributes.items()]
    return ir.Node("", op_type, inputs, made, outputs=[ir.Value(name=name)], name=name)


def new_constant(array: np.ndarray, name: str) -> ir.Node:
    """A Constant that holds `array`, in no graph yet; it and its output are called `name`."""
    return new_node("Constant", (), {"value": array}, name)


def _attribute(name: str, value: AttributeValue) -> ir.Attr:
    if isinstance(value, np.ndarray):
        return ir.AttrTensor(name, ir.Tensor(value))
    if isinstance(value, int):
        return ir.AttrInt64(name, value)
    return ir.AttrInt64s(name, value)
