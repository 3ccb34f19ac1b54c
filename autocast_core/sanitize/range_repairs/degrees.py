"""What a power of two at some edges of a graph does to everything behind them.

Where some edges are multiplied by c = 2^-k, a value behind them holds c^d times its numbers, with a whole number d, its
degree: sums keep it, products add it, a root halves it, and an operator that normalises takes it away. Multiplying by a
power of two commutes with rounding, so all of this is exact in floating point, as long as nothing becomes subnormal or
infinite. Constants that are added to a value of degree d, epsilons among them, have to be multiplied by c^d too; where
an operator is not homogeneous, its operands have to be multiplied by c^-d.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import onnx_ir as ir

from autocast_core.graph.constants import constant_tensor, scalar
from autocast_core.operators.families import MOVES_ELEMENTS, is_in
from autocast_core.sanitize.range_repairs.scaling import is_scalable

Edge = tuple[ir.Node, int]
"""A node and the index of one of its inputs."""

SUMS = frozenset({"Add", "Sub"})
LINEAR: Mapping[str, int] = MappingProxyType({"MatMul": 2, "Gemm": 3, "Conv": 3})
"""Operators that are linear in input 0 alone, up to a bias, and the number of their inputs with it."""
KEEPS_DEGREE = MOVES_ELEMENTS | {"Neg", "Abs", "Relu", "ReduceMean", "ReduceSum", "ReduceMax", "ReduceL1", "ReduceL2"}
"""f(c x) = c f(x) for c > 0, of input 0."""
_ALIKE = frozenset({"Concat", "Max", "Min", "Sum"})
"""The same of all inputs together, which must have one degree."""
NORMALISES = frozenset(
    {
        "LayerNormalization",
        "RMSNormalization",
        "SimplifiedLayerNormalization",
        "InstanceNormalization",
        "GroupNormalization",
    }
)
"""f(c x) = f(x) for c > 0, of input 0, with epsilon c^2."""


class Degrees:
    """The degrees behind scaled `edges`; `visit` nodes in the order of the graph.

    `of` has the values with a degree other than 0, `constants` and `exits` the degrees of edges at which a constant has
    to be scaled along and a value has to be scaled back, `epsilons` those of nodes with an epsilon, and `ends` the
    nodes that take a degree away.
    """

    def __init__(self, edges: Sequence[Edge] = ()) -> None:
        self.edges: dict[Edge, None] = dict.fromkeys(edges)
        self.of: dict[ir.Value, int] = {}
        self.constants: dict[Edge, int] = {}
        self.exits: dict[Edge, int] = {}
        self.epsilons: dict[ir.Node, int] = {}
        self.ends: dict[ir.Node, None] = {}

    def at(self, node: ir.Node) -> list[int]:
        """The degree of each input of `node`, as it reads it."""
        return [
            (self.of.get(value, 0) if value is not None else 0) + ((node, index) in self.edges)
            for index, value in enumerate(node.inputs)
        ]

    def visit(self, node: ir.Node) -> None:
        """Learn what `node` makes of the degrees of its inputs."""
        degrees = self.at(node)
        if not any(degrees):
            return
        degree = self._result(node, degrees)
        if degree is None:
            self.exits.update(((node, index), each) for index, each in enumerate(degrees) if each)
        elif degree:
            self.of.update((value, degree) for value in node.outputs)
        else:
            self.ends[node] = None

    def _result(self, node: ir.Node, degrees: list[int]) -> int | None:
        """The degree of the outputs; None where there is none."""
        if node.domain == "" and any(value.dtype != ir.DataType.FLOAT for value in node.outputs[:1]):
            return None
        if is_in(node, NORMALISES):
            return self._normalised(node, degrees)
        if is_in(node, KEEPS_DEGREE):
            return degrees[0] if not any(degrees[1:]) else None
        if is_in(node, SUMS):
            return self._sum(node, degrees)
        if node.op_type in LINEAR and node.domain == "":
            return self._linear(node, degrees)
        rule = _RULES.get(node.op_type) if node.domain == "" else None
        return rule(node, degrees) if rule is not None else None

    def _normalised(self, node: ir.Node, degrees: list[int]) -> int | None:
        others_read = any(value.uses() or value.is_graph_output() for value in node.outputs[1:])
        if others_read or degrees[0] <= 0 or any(degrees[1:]):
            return None
        self.epsilons[node] = degrees[0]
        return 0

    def _sum(self, node: ir.Node, degrees: list[int]) -> int | None:
        left, right = degrees
        if left == right:
            return left
        constant = 1 if right == 0 else 0
        if degrees[constant] or not is_scalable(node.inputs[constant]):
            return None
        self.constants[node, constant] = degrees[1 - constant]
        return degrees[1 - constant]

    def _linear(self, node: ir.Node, degrees: list[int]) -> int | None:
        """Only where its operand is scaled on purpose: behind a product the stream of values is another one."""
        if (node, 0) not in self.edges or any(degrees[1:]):
            return None
        if len(node.inputs) > 2 and node.inputs[2] is not None:
            self.constants[node, 2] = degrees[0]
        return degrees[0]


def is_scalable_product(node: ir.Node) -> bool:
    """Whether scaling input 0 of `node` scales its result, but for a constant bias."""
    if node.domain != "" or node.op_type not in LINEAR:
        return False
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    return constant_tensor(node.inputs[0]) is None and (bias is None or is_scalable(bias))


def _same(node: ir.Node, degrees: list[int]) -> int | None:
    return degrees[0] if len(set(degrees)) == 1 else None


def _product(node: ir.Node, degrees: list[int]) -> int | None:
    return sum(degrees)


def _quotient(node: ir.Node, degrees: list[int]) -> int | None:
    return degrees[0] - degrees[1]


def _power(node: ir.Node, degrees: list[int]) -> int | None:
    exponent = scalar(node.inputs[1])
    degree = None if exponent is None or degrees[1] else degrees[0] * exponent
    return int(degree) if degree is not None and degree == int(degree) else None


def _root(node: ir.Node, degrees: list[int]) -> int | None:
    return degrees[0] // 2 if degrees[0] % 2 == 0 else None


def _choice(node: ir.Node, degrees: list[int]) -> int | None:
    return degrees[1] if degrees[0] == 0 and degrees[1] == degrees[2] else None


_RULES: Mapping[str, Callable[[ir.Node, list[int]], int | None]] = MappingProxyType(
    {
        **dict.fromkeys(_ALIKE, _same),
        "Mul": _product,
        "Div": _quotient,
        "Pow": _power,
        "Sqrt": _root,
        "Reciprocal": lambda node, degrees: -degrees[0],
        "ReduceSumSquare": lambda node, degrees: 2 * degrees[0],
        "Where": _choice,
        "Cast": lambda node, degrees: degrees[0],
    }
)
