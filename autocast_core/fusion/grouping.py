"""Groups the nodes of a graph into estimated kernels; the package says by which rules."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count

import onnx_ir as ir

from autocast_core.fusion.node_kinds import NORMALIZATIONS, NodeKind, known_when_built, node_kind, only_moves
from autocast_core.fusion.readers import readers_of, source_of
from autocast_core.graph.constants import constant_tensor
from autocast_core.operators import element_type


@dataclass(eq=False)
class Group:
    """The nodes of one estimated kernel. `anchor` is its product, `core` says that it is a whole attention core, and
    `closed` that nothing more is taken in."""

    nodes: list[ir.Node] = field(default_factory=list)
    anchor: ir.Node | None = None
    core: bool = False
    closed: bool = False

    @property
    def is_generated(self) -> bool:
        """Whether elementwise nodes and reductions may join."""
        return self.anchor is None and not self.core and not self.closed


def kernel_groups(nodes: Sequence[ir.Node], cores: Iterable[Sequence[ir.Node]]) -> list[Group]:
    """The groups of one graph, whose nodes are given in graph order, in the order in which they could run. `cores` are
    the attention cores that are one kernel each. Views and what is known when building are in none."""
    known = known_when_built(nodes)
    grouping = _Grouping.of(nodes, known)
    for core in cores:
        grouping.add(Group(list(core), core=True))
    for group in _merged_products(nodes, grouping):
        grouping.add(group)
    for node in nodes:
        if node not in known and node not in grouping.group_of and node_kind(node) is not NodeKind.VIEW:
            grouping.place(node)
    grouping.absorb_layouts()
    return grouping.in_order(nodes)


def _merged_products(nodes: Iterable[ir.Node], grouping: _Grouping) -> Iterator[Group]:
    """Products of one tensor with several weights, where no core has them."""
    by_operand: dict[tuple[ir.Value, str], list[ir.Node]] = {}
    for node in nodes:
        if node.op_type in ("MatMul", "Gemm") and node not in grouping.group_of and node not in grouping.known:
            left, right = node.inputs[0], node.inputs[1]
            if left is not None and constant_tensor(right and source_of(right).stored) is not None:
                by_operand.setdefault((source_of(left).stored, str(element_type(node.outputs[0]))), []).append(node)
    for merged in by_operand.values():
        if len(merged) > 1:
            yield Group(merged, anchor=merged[0], closed=True)


@dataclass
class _Grouping:
    """The groups so far, each with its place in the order in which they were begun. `known` are the nodes that cost
    nothing; `producers` and `consumers` say by node what makes its operands and what reads its results."""

    known: Collection[ir.Node]
    producers: Mapping[ir.Node, tuple[ir.Node, ...]]
    consumers: Mapping[ir.Node, list[ir.Node]]
    group_of: dict[ir.Node, Group] = field(default_factory=dict)
    groups: dict[Group, int] = field(default_factory=dict)
    places: Iterator[int] = field(default_factory=count)

    @staticmethod
    def of(nodes: Iterable[ir.Node], known: Collection[ir.Node]) -> _Grouping:
        producers = {node: tuple(_producers(node)) for node in nodes}
        consumers = dict[ir.Node, list[ir.Node]]()
        for node, makers in producers.items():
            for maker in makers:
                consumers.setdefault(maker, []).append(node)
        return _Grouping(known, producers, consumers)

    def add(self, group: Group) -> None:
        self.groups[group] = next(self.places)
        self.group_of.update(dict.fromkeys(group.nodes, group))

    def place(self, node: ir.Node) -> None:
        """Let the node join a group that makes one of its operands, or begin one."""
        kind = node_kind(node)
        if kind is NodeKind.PRODUCT:
            self.add(Group([node], anchor=node))
            return
        if kind is NodeKind.ALONE:
            self.add(Group([node], closed=True))
            return
        makers = list(dict.fromkeys(self._makers(node)))
        for group in reversed(makers):
            if self._takes(group, node) and not self._depends(makers, group):
                group.nodes.append(node)
                self.group_of[node] = group
                self._merge(makers, group)
                return
        self.add(Group([node]))

    def _makers(self, node: ir.Node) -> Iterator[Group]:
        """The groups that make the operands of the node, in their order."""
        found = {self.group_of[each] for each in self.producers[node] if each in self.group_of}
        yield from sorted(found, key=self.groups.__getitem__)

    def _takes(self, group: Group, node: ir.Node) -> bool:
        if group.is_generated:
            normalizes = any(each.op_type in NORMALIZATIONS for each in group.nodes)
            return not (normalizes and (node.op_type in NORMALIZATIONS or only_moves(node)))
        if group.anchor is None or group.closed or node_kind(node) is not NodeKind.ELEMENTWISE or only_moves(node):
            return False
        return _joins_product(group, node)

    def _depends(self, makers: Iterable[Group], group: Group) -> bool:
        """Whether another maker needs what `group` makes, so that a node of both would close a circle. What is behind
        `group` is looked at, and not what is ahead of the makers: it was placed last, and little is."""
        others = {maker for maker in makers if maker is not group}
        seen, waiting = {group}, [group] if others else []
        while waiting:
            new = self._beside(waiting.pop(), self.consumers) - seen
            if not others.isdisjoint(new):
                return True
            seen |= new
            waiting += new
        return False

    def _beside(self, group: Group, others: Mapping[ir.Node, Iterable[ir.Node]]) -> set[Group]:
        """The groups of the `others` of its nodes, itself perhaps among them."""
        beside = (each for node in group.nodes for each in others.get(node, ()))
        return {self.group_of[each] for each in beside if each in self.group_of}

    def _merge(self, makers: Iterable[Group], group: Group) -> None:
        """Take in generated groups whose every value only `group` reads."""
        for maker in makers:
            if maker is group or not (maker.is_generated and group.is_generated):
                continue
            readers = {self.group_of.get(each) if each else None for each in _readers(maker)}
            if readers <= {group, maker} and not _has_norm(maker):
                group.nodes[:0] = maker.nodes
                self.group_of.update(dict.fromkeys(maker.nodes, group))
                del self.groups[maker]

    def in_order(self, nodes: Iterable[ir.Node]) -> list[Group]:
        """The groups, each behind those that it reads from."""
        ordered: dict[Group, None] = {}
        begun = set[Group]()
        for node in nodes:
            waiting = [self.group_of[node]] if node in self.group_of else []
            while waiting:
                group = waiting[-1]
                new = self._beside(group, self.producers) - begun
                begun.add(group)
                if new:
                    waiting += sorted(new, key=self.groups.__getitem__)
                else:
                    ordered[waiting.pop()] = None
        return list(ordered)

    def absorb_layouts(self) -> None:
        """Let cores take in what only lays out their operands and results: a kernel reads and writes another place."""
        for group in list(self.groups):
            if not (group.is_generated and all(map(only_moves, group.nodes))):
                continue
            biased = any(
                each.op_type == "Gemm" and len(each.inputs) > 2 for node in group.nodes for each in self.producers[node]
            )
            for ends in (
                () if biased else _readers(group),
                (each for node in group.nodes for each in self.producers[node]),
            ):
                cores = {self.group_of.get(each) if each else None for each in ends} - {group}
                core = cores.pop() if len(cores) == 1 else None
                if core is not None and core.core:
                    core.nodes.extend(group.nodes)
                    self.group_of.update(dict.fromkeys(group.nodes, core))
                    del self.groups[group]
                    break


def _producers(node: ir.Node) -> Iterator[ir.Node]:
    for value in node.inputs:
        producer = source_of(value).stored.producer() if value is not None else None
        if producer is not None:
            yield producer


def _readers(group: Group) -> Iterator[ir.Node | None]:
    for node in group.nodes:
        for value in node.outputs:
            yield from readers_of(value)


def _has_norm(group: Group) -> bool:
    return any(node_kind(each) is NodeKind.REDUCTION for each in group.nodes)


def _joins_product(group: Group, node: ir.Node) -> bool:
    """Whether a kernel whose anchor is a product takes in the elementwise node."""
    anchor = group.anchor
    assert anchor is not None
    convolves = anchor.op_type.startswith("Conv")
    biased = convolves or any(_adds_constant(each) for each in group.nodes) or len(anchor.inputs) > 2
    if node.op_type == "Sigmoid" and convolves:
        return False  # Sigmoid(x) · x is a kernel of its own
    operands = [value for value in node.inputs if value is not None and not _is_constant(value)]
    inside = [value for value in operands if source_of(value).stored.producer() in group.nodes]
    if len(inside) < len(operands):
        typed = all(element_type(value) == element_type(anchor.outputs[0]) for value in operands)
        return biased and typed and node.op_type in ("Add", "Sum") and not (not convolves and _ends_in_norm(node))
    if _adds_constant(node) and not biased:
        return not (_ends_in_norm(node) or _leads_to_wider_sum(node, anchor))
    return biased or len(operands) == len(node.inputs) == 1


def _leads_to_wider_sum(node: ir.Node, anchor: ir.Node) -> bool:
    """Whether all that reads the result is a sum with another tensor in a wider type, which the product does not take
    in: the bias goes with that sum."""
    readers = list(dict.fromkeys(readers_of(node.outputs[0])))
    reader = readers[0] if len(readers) == 1 else None
    if reader is None or reader.op_type != "Add" or _adds_constant(reader):
        return False
    return element_type(reader.outputs[0]) != element_type(anchor.outputs[0])


def _adds_constant(node: ir.Node) -> bool:
    return node.op_type == "Add" and any(_is_constant(value) for value in node.inputs)


def _is_constant(value: ir.Value | None) -> bool:
    return value is not None and constant_tensor(source_of(value).stored) is not None


def _ends_in_norm(node: ir.Node) -> bool:
    """Whether a normalization alone reads the result, directly or behind further sums."""
    readers = list(dict.fromkeys(readers_of(node.outputs[0])))
    reader = readers[0] if len(readers) == 1 else None
    if reader is None:
        return False
    return reader.op_type in NORMALIZATIONS or (reader.op_type == "Add" and _ends_in_norm(reader))
