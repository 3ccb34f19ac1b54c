"""What a model promises to its users: its inputs and outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir


@dataclass(frozen=True)
class Port:
    """An input or output: its name, type (None where the model does not say) and dimensions.

    A dimension is a length, or a name, or None; `dims` is None where even the rank is unknown.
    """

    name: str
    type: ir.TypeProtocol | None
    dims: tuple[int | str | None, ...] | None


@dataclass(frozen=True)
class IoContract:
    """The inputs and outputs of a model, in order. Initializers that a caller may override are inputs too."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]


def io_contract(model: ir.Model) -> IoContract:
    """The contract of `model` as it is now."""
    return IoContract(_ports(model.graph.inputs), _ports(model.graph.outputs))


def _ports(values: Sequence[ir.Value]) -> tuple[Port, ...]:
    return tuple(Port(value.name or "", value.type, _dims(value.shape)) for value in values)


def _dims(shape: ir.Shape | None) -> tuple[int | str | None, ...] | None:
    return None if shape is None else tuple(dim if isinstance(dim, int) else dim.value for dim in shape)
