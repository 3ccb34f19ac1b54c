"""Which value of a candidate is which value of the reference.

In the order of the candidate's nodes each is looked up among the reference's by its operator and matched inputs
(value numbering), with attributes and weights equal up to rounding; by its name where the models share names; then
backwards from matched outputs. Casts, Identities and Dropouts pass values on. Only the main graph is matched: a node
with bodies is one node.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field

import onnx_ir as ir

from autocast_core.diagnose.matching.operand_likeness import (
    COMMUTATIVE,
    data_inputs,
    domain_of,
    is_constant,
    passes_on,
    same_attributes,
    same_weights,
)
from autocast_core.diagnose.matching.prepared import Interfaces
from autocast_core.graph.names import values_by_name

_ROUNDS = 3


@dataclass
class Matching:
    """`of` has for values of the candidate the reference's, `how` by what each was matched; see MatchedTensor."""

    reference: ir.Model
    candidate: ir.Model
    of: dict[ir.Value, ir.Value] = field(default_factory=dict)
    how: dict[ir.Value, str] = field(default_factory=dict)
    taken: dict[ir.Value, ir.Value] = field(default_factory=dict)

    def put(self, candidate: ir.Value, reference: ir.Value, how: str) -> bool:
        """Match two values, unless the candidate's is matched; whether it was not."""
        reference = root(reference)
        if candidate in self.of or is_constant(candidate):
            return False
        self.of[candidate], self.how[candidate] = reference, how
        self.taken.setdefault(reference, candidate)
        return True


def root(value: ir.Value) -> ir.Value:
    """The value that `value` is, up to its type: through Casts between floats, Identities and Dropouts."""
    while (producer := value.producer()) is not None and passes_on(producer) and producer.inputs[0] is not None:
        if value is not producer.outputs[0]:
            break
        value = producer.inputs[0]
    return value


def matcher_of(
    reference: ir.Model, candidate: ir.Model, interfaces: Interfaces, mapped: Mapping[str, str]
) -> ValueMatcher:
    """A matcher of two prepared models, with their inputs and outputs matched; `mapped` has further tensors of the
    candidate by the reference's."""
    matching = Matching(reference, candidate)
    ours, theirs = values_by_name(reference.graph), values_by_name(candidate.graph)
    for left, right in interfaces.inputs.items():
        matching.put(theirs[right], ours[left], "input")
    for left, right in {**interfaces.outputs, **mapped}.items():
        if left in ours and right in theirs:
            matching.put(theirs[right], ours[left], "name" if left == right else "output")
    return ValueMatcher(matching, ours, _names_agree(ours, theirs))


@dataclass
class ValueMatcher:
    """Matches more and more values. `trusted`: a name that both models have means the same value."""

    matching: Matching
    ours: Mapping[str, ir.Value]
    trusted: bool
    index: dict[Hashable, list[ir.Node]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for node in self.matching.reference.graph:
            key = _key(node, (root(value) for value in data_inputs(node)))
            if key is not None and not passes_on(node):
                self.index.setdefault(key, []).append(node)

    def run(self) -> Matching:
        """Match what names and structure allow, from all that is matched by now."""
        for _ in range(_ROUNDS):
            if not (self.forward() | self.backward()):
                break
        return self.matching

    def forward(self) -> bool:
        """Match outputs of nodes whose inputs are matched; whether there were any."""
        found = [self._node(node) for node in self.matching.candidate.graph if node.op_type != "Constant"]
        return any(found)

    def backward(self) -> bool:
        """Match inputs of nodes whose outputs are matched; whether there were any."""
        found = [self._inputs(node) for node in reversed(list(self.matching.candidate.graph))]
        return any(found)

    def _node(self, node: ir.Node) -> bool:
        of = self.matching.of
        if passes_on(node):
            source = node.inputs[0]
            if source not in of:
                return self._named(node)
            return self.matching.put(node.outputs[0], of[source], "cast")
        if all(value in of or not value.name for value in node.outputs):
            return False
        partner, how = self._partner(node)
        if partner is None:
            return self._cast(node) or self._named(node)
        pairs = zip(node.outputs, partner.outputs, strict=False)
        return sum(self.matching.put(value, other, how) for value, other in pairs if value.name and other.name) > 0

    def _partner(self, node: ir.Node) -> tuple[ir.Node | None, str]:
        """The reference's node that is `node`, and by what it was found."""
        named = self.ours.get(str(node.outputs[0].name)) if self.trusted else None
        namesake = None if named is None else named.producer()
        if (
            named is not None
            and namesake is not None
            and namesake.op_type == node.op_type
            and root(named) not in self.matching.taken
        ):
            return namesake, "name"
        sources = [self.matching.of.get(value) for value in data_inputs(node)]
        key = None if None in sources else _key(node, (v for v in sources if v is not None))
        found = self.index.get(key, []) if key is not None else []
        same = [each for each in found if same_attributes(each, node) and same_weights(each, node)]
        free = [each for each in same if each.outputs[0] not in self.matching.taken]
        if free:
            return free[0], "structure"
        if named is not None and root(named) not in self.matching.taken:
            return None, ""
        loose = [each for each in found if each.outputs[0] not in self.matching.taken]
        if len(loose) == 1:
            return loose[0], "structure"
        return (same[0], "structure") if same else (None, "")

    def _cast(self, node: ir.Node) -> bool:
        """A Cast that the reference does not have passes its input on, to whatever type."""
        source = node.inputs[0] if node.op_type == "Cast" and node.domain == "" else None
        return source in self.matching.of and self.matching.put(node.outputs[0], self.matching.of[source], "cast")

    def _named(self, node: ir.Node) -> bool:
        if not self.trusted:
            return False
        found = False
        for value in node.outputs:
            other = self.ours.get(str(value.name))
            if other is not None and root(other) not in self.matching.taken and _may_be(value, other):
                found |= self.matching.put(value, other, "name")
        return found

    def _inputs(self, node: ir.Node) -> bool:
        of, put = self.matching.of, self.matching.put
        known = next((value for value in node.outputs if value in of), None)
        if known is None:
            return False
        if passes_on(node):
            source = node.inputs[0]
            return source is not None and put(source, of[known], self.matching.how[known])
        partner = of[known].producer()
        if partner is None or partner.op_type != node.op_type or domain_of(partner) != domain_of(node):
            return False
        mine, theirs = data_inputs(node), [root(value) for value in data_inputs(partner)]
        if len(mine) != len(theirs):
            return False
        if node.op_type in COMMUTATIVE:
            theirs = [each for each in theirs if each not in [of.get(value) for value in mine]]
            mine = [value for value in mine if value not in of]
            if len(mine) == len(theirs) == 2 and _made_by(mine[0]) != _made_by(theirs[0]):
                theirs.reverse()
        pairs = zip(mine, theirs, strict=False)
        return sum(put(v, r, "structure") for v, r in pairs if r not in self.matching.taken and _may_be(v, r)) > 0


def _key(node: ir.Node, sources: Iterable[ir.Value]) -> Hashable | None:
    """What a node computes, up to attributes and weights; None for one without inputs that are computed."""
    ids = tuple(map(id, sources))
    if not ids:
        return None
    return domain_of(node), node.op_type, tuple(sorted(ids)) if node.op_type in COMMUTATIVE else ids


def _may_be(value: ir.Value, other: ir.Value) -> bool:
    """Whether nothing that is declared says that these are different: both float or neither, of one rank."""
    if value.dtype is None or other.dtype is None:
        return True
    if value.dtype.is_floating_point() != other.dtype.is_floating_point():
        return False
    if value.shape is None or other.shape is None:
        return True
    same = zip(value.shape, other.shape, strict=False)
    fits = all(a == b for a, b in same if isinstance(a, int) and isinstance(b, int))
    return len(value.shape) == len(other.shape) and fits


def _made_by(value: ir.Value) -> str | None:
    producer = root(value).producer()
    return None if producer is None else producer.op_type


def _names_agree(ours: Mapping[str, ir.Value], theirs: Mapping[str, ir.Value]) -> bool:
    """Whether names that both have are mostly of the same operators: exporters that number values share names, too."""
    votes = Counter(
        _made_by(value) == _made_by(theirs[name])
        for name, value in ours.items()
        if name in theirs and value.producer() is not None and theirs[name].producer() is not None
    )
    return votes[True] >= votes[False]
