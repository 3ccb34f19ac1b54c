"""The inputs and outputs of a model, which a conversion must not change but for their types."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from autocast_core.number_formats import LOW_DTYPES
from autocast_core.plan import PlanSettings


@dataclass(frozen=True)
class Port:
    """An input or output: its name, type (None where the model does not say) and dimensions.

    A dimension is a length, or a name, or None; `dims` is None where even the rank is unknown.
    """

    name: str
    type: ir.TypeProtocol | None
    dims: tuple[int | str | None, ...] | None


@dataclass(frozen=True)
class ModelInterface:
    """The inputs and outputs of a model, in order. Initializers that a caller may override are inputs too."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]


def model_interface(model: ir.Model) -> ModelInterface:
    """The interface of `model` as it is now; a value, which later changes of the model leave as it is."""
    return ModelInterface(_ports(model.graph.inputs), _ports(model.graph.outputs))


def _ports(values: Sequence[ir.Value]) -> tuple[Port, ...]:
    return tuple(Port(value.name or "", value.type, _dims(value.shape)) for value in values)


def _dims(shape: ir.Shape | None) -> tuple[int | str | None, ...] | None:
    return None if shape is None else tuple(map(_dim, shape))


def _dim(dim: int | ir.SymbolicDim) -> int | str | None:
    """A negative length, which old exporters write, is an unknown one."""
    if isinstance(dim, int):
        return dim if dim >= 0 else None
    return dim.value


def interface_changes(
    before: ModelInterface,
    after: ModelInterface,
    low: frozenset[ir.DataType],
    settings: PlanSettings,
    kept: frozenset[str],
) -> Iterator[str]:
    """A sentence for each change from `before` to `after` that a conversion must not make.

    Names and order never change. A port of FP32, FP64 or another 16-bit type takes one of the types `low`, or FP32
    where the plan lists it in `kept`; those that `settings` keep, and all others, keep their types. Dimensions that
    both sides know agree.
    """
    sides = (("input", before.inputs, after.inputs), ("output", before.outputs, after.outputs))
    for kind, old, new in sides:
        if [port.name for port in old] != [port.name for port in new]:
            yield f"the {kind}s were {_names(old)} and are {_names(new)}"
            continue
        for was, now in zip(old, new, strict=True):
            keeps = settings.keeps_io_type(was.name)
            allowed = {_element(was.type)} if keeps else _allowed(_element(was.type), low, was.name in kept)
            if was.type is not None and now.type is not None and not _same_kind(was.type, now.type, allowed):
                stays = was.type == now.type
                change = "and is not listed as kept" if stays else f"and is {now.type}"
                yield f"{kind} {was.name!r} was {was.type} {change}"
            if was.dims is not None and now.dims is not None and _contradict(was.dims, now.dims):
                yield f"{kind} {was.name!r} had shape {list(was.dims)} and has {list(now.dims)}"


def _allowed(element: ir.DataType | None, low: frozenset[ir.DataType], kept: bool) -> set[ir.DataType | None]:
    if element == ir.DataType.FLOAT:
        return {ir.DataType.FLOAT} if kept else {*low}
    if element == ir.DataType.DOUBLE or (element in LOW_DTYPES and element not in low):
        return {element, ir.DataType.FLOAT, *low}
    return {element}


def _same_kind(was: ir.TypeProtocol, now: ir.TypeProtocol, allowed: set[ir.DataType | None]) -> bool:
    while isinstance(was, _NESTED) and type(was) is type(now):
        was, now = was.elem_type, now.elem_type
    return type(was) is type(now) and _element(now) in allowed


def _element(type_: ir.TypeProtocol | None) -> ir.DataType | None:
    return None if type_ is None else type_.dtype


def _contradict(was: tuple[int | str | None, ...], now: tuple[int | str | None, ...]) -> bool:
    return len(was) != len(now) or any(
        isinstance(a, int) and isinstance(b, int) and a != b for a, b in zip(was, now, strict=True)
    )


def _names(ports: tuple[Port, ...]) -> str:
    return ", ".join(port.name for port in ports) or "none"


_NESTED = (ir.SequenceType, ir.OptionalType)
