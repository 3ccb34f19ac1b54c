"""Which float values are counts, positions and sizes, and so must stay exact, as far as the graph tells.

16 bits hold whole numbers up to 2048 (FP16) or 256 (BF16) exactly; sizes and indices that are computed in floats, and
the angles that positions are turned into, are wrong beyond that whatever the accuracy of the rest.

One walk forward, from integers and from what is rounded to whole numbers, through every operator of which
operators/facts.json says that it carries numbers or computes with them, and through the bodies of control flow.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from autocast_core.config import Precision
from autocast_core.graph.constants import constant_tensor
from autocast_core.number_formats import PRECISION_DTYPES
from autocast_core.operators import BodyPort, element_type, ports_of
from autocast_core.operators.facts import operator_facts
from autocast_core.operators.families import ARITHMETIC, CARRIES, CONTROL_FLOW, KEEPS_WHOLE, ROUNDS, numbers_of

CASTS = frozenset({"Cast", "CastLike"})
COMPARISONS = frozenset({"Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Equal"})

_SOURCES = CASTS | ROUNDS | {"Range"}
"""Operators that make floats of integers, or whole numbers of other numbers."""
_CONSTANT_ELEMENTS = 4096

WHOLE_LIMIT: Mapping[Precision, float] = {Precision.FP16: 2.0**11, Precision.BF16: 2.0**8}
"""Up to here every whole number has a representation: 11 and 8 bits of significand (IEEE 754 binary16, bfloat16)."""

_LARGEST_COUNT = 2.0**24
"""Beyond, FP32 has no exact whole numbers either: such a constant is the infinity of a mask, not a count."""


@dataclass(frozen=True)
class ExactValues:
    """Float values by what they mean.

    `whole`: whole numbers, computed from integers. `rounded`: whole numbers, computed from others by Ceil, Floor, Round
    or Sign. `positions`: anything computed from integers and constants alone. `sizes`: nodes whose results are computed
    from integers and end as integers, comparisons among themselves, or scales of a Resize.
    """

    whole: frozenset[ir.Value]
    rounded: frozenset[ir.Value]
    positions: frozenset[ir.Value]
    sizes: frozenset[ir.Node]


def find_exact_values(nodes: Iterable[ir.Node]) -> ExactValues:
    """The numbers among the values of `nodes`, which are all nodes of a model, each before its readers."""
    nodes = [node for node in nodes if node.domain == ""]
    if not any(node.op_type in _SOURCES for node in nodes):
        return ExactValues(frozenset(), frozenset(), frozenset(), frozenset())
    ports = [port for node in nodes if node.op_type in CONTROL_FLOW for port in ports_of(node)]
    found = _Meanings()
    while True:
        _walk(nodes, ports, found)
        # What a body hands back to its own input must mean the same, or the input does not.
        broken = {port.inner_input for port in ports if port.inner_input is not None and not found.comes_back(port)}
        if broken <= found.unknown:
            break
        found = _Meanings(unknown=found.unknown | broken)
    sizes = _sizes(nodes, found.positions)
    return ExactValues(frozenset(found.whole), frozenset(found.rounded), frozenset(found.positions), sizes)


@dataclass
class _Meanings:
    """What the walk has found; `unknown` are inputs of bodies that mean nothing in particular."""

    whole: set[ir.Value] = field(default_factory=set)
    rounded: set[ir.Value] = field(default_factory=set)
    positions: set[ir.Value] = field(default_factory=set)
    unknown: set[ir.Value] = field(default_factory=set)

    def __len__(self) -> int:
        return len(self.whole) + len(self.rounded) + len(self.positions)

    @property
    def sets(self) -> tuple[set[ir.Value], set[ir.Value], set[ir.Value]]:
        return self.whole, self.rounded, self.positions

    def is_whole(self, value: ir.Value) -> bool:
        """Whether all its elements are whole numbers, whatever they are computed from."""
        return value in self.whole or value in self.rounded or _is_whole_constant(value)

    def comes_back(self, port: BodyPort) -> bool:
        """Whether the body gives for the next iteration what its input means."""
        backs = port.inner_outputs if port.outer_output is not None else ()
        for meaning in self.sets:
            if port.inner_input in meaning and not all(v in meaning or _constant(v) is not None for v in backs):
                return False
        return True

    def share(self, port: BodyPort) -> None:
        """Give the inputs of a body, and the outputs of its node, the meanings of what they take."""
        outer, inner = port.outer_input, port.inner_input
        if outer is not None and inner is not None and inner not in self.unknown:
            self._copy([outer], inner)
        if port.outer_output is not None and port.inner_outputs:
            begins = [outer] if outer is not None and inner is not None else []
            self._copy([*begins, *port.inner_outputs], port.outer_output)

    def _copy(self, sources: Sequence[ir.Value], value: ir.Value) -> None:
        for meaning in self.sets:
            known = [source in meaning for source in sources]
            if any(known) and all(yes or _constant(v) is not None for yes, v in zip(known, sources, strict=True)):
                meaning.add(value)


def _walk(nodes: Sequence[ir.Node], ports: Sequence[BodyPort], found: _Meanings) -> None:
    """Follows all nodes; again where bodies have handed out something new."""
    while True:
        for node in nodes:
            _follow(node, found)
        before = len(found)
        for port in ports:
            found.share(port)
        if len(found) == before:
            return


def _follow(node: ir.Node, found: _Meanings) -> None:
    outputs = [value for value in node.outputs if is_float(value)]
    inputs = numbers_of(node) if outputs else []
    if not inputs:
        return
    kind = node.op_type
    if kind in CASTS and is_integer(inputs[0]):
        found.whole.update(outputs)
        found.positions.update(outputs)
        return
    carries = kind in CARRIES or kind in CASTS or kind == "Range"
    if not carries and kind not in ARITHMETIC:
        return
    constant = [_constant(value) is not None for value in inputs]
    if all(constant) and kind != "Range":
        return
    from_integers = kind == "Range" or all(
        value in found.positions or fixed for value, fixed in zip(inputs, constant, strict=True)
    )
    if from_integers:
        found.positions.update(outputs)
    keeps = carries or kind in KEEPS_WHOLE
    if kind in ROUNDS or (keeps and all(map(found.is_whole, inputs))):
        from_counts = from_integers or (kind in ROUNDS and any(value in found.positions for value in inputs))
        derived = kind not in ROUNDS and any(value in found.rounded for value in inputs)
        (found.rounded if derived or not from_counts else found.whole).update(outputs)


def _sizes(nodes: list[ir.Node], positions: set[ir.Value]) -> frozenset[ir.Node]:
    """Backward over all nodes: those of whose float outputs nothing is left but integers and scales."""
    found: set[ir.Node] = set()
    for node in reversed(nodes) if positions else ():
        floats = [value for value in node.outputs if is_float(value)]
        if floats and all(value in positions and _ends_as_size(value, positions, found) for value in floats):
            found.add(node)
    return frozenset(found)


def _ends_as_size(value: ir.Value, positions: set[ir.Value], found: set[ir.Node]) -> bool:
    if value.is_graph_output() or not value.uses():
        return False
    return all(_takes_size(node, index, positions) or node in found for node, index in value.uses())


def _takes_size(node: ir.Node, index: int, positions: set[ir.Value]) -> bool:
    """Whether input `index` ends as an integer or a scale there, or is compared with other sizes."""
    if node.domain != "":
        return False
    if node.op_type in CASTS:
        return is_integer(node.outputs[0])
    if node.op_type in COMPARISONS:
        other = node.inputs[1 - index]
        return other is not None and (other in positions or _constant(other) is not None)
    return index in operator_facts().size_inputs.get(node.op_type, ())


def is_float(value: ir.Value | None) -> bool:
    """Whether the elements are of a type that a plan decides on."""
    return element_type(value) in PRECISION_DTYPES


def is_integer(value: ir.Value | None) -> bool:
    """Whether the elements are integers; booleans are not."""
    dtype = element_type(value)
    return dtype is not None and dtype.is_integer() and dtype != ir.DataType.BOOL


def _constant(value: ir.Value) -> ir.TensorProtocol | None:
    tensor = constant_tensor(value)
    return tensor if tensor is not None and tensor.size <= _CONSTANT_ELEMENTS else None


def _is_whole_constant(value: ir.Value) -> bool:
    tensor = _constant(value)
    if tensor is None or not is_float(value):
        return False
    array = tensor.numpy().astype(np.float32)
    return bool(np.array_equal(array, np.floor(array)) and (np.abs(array) <= _LARGEST_COUNT).all())
