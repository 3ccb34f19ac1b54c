"""The inputs and outputs of the main graph: which of them take the low type, and under which names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx_ir as ir

from autocast_core.apply.casts import SUFFIX
from autocast_core.apply.literals import convert_tensor, store
from autocast_core.apply.retype import retype
from autocast_core.apply.uses import GraphOutput, Use, Uses
from autocast_core.graph.names import UnusedNames
from autocast_core.graph.walk import is_counted
from autocast_core.number_formats import LOW_DTYPES, PRECISION_DTYPES
from autocast_core.operators import element_type, is_tensor
from autocast_core.plan import PrecisionPlan


class GraphInterface:
    """The types and names of the main graph's inputs and outputs, which callers rely on.

    It is made before anything changes, since it keeps the outputs and their names as they were.
    """

    def __init__(self, graph: ir.Graph, plan: PrecisionPlan) -> None:
        self._graph = graph
        self._low = plan.precision.dtype
        self._types = frozenset(precision.dtype for precision in plan.low_types)
        self._settings = plan.settings
        self._outputs = list(graph.outputs)
        self._output_names = [value.name for value in graph.outputs]
        firsts: dict[ir.Value, int] = {}
        self._first = [firsts.setdefault(value, index) for index, value in enumerate(graph.outputs)]
        self._kept: set[str | None] = set()

    @property
    def kept(self) -> tuple[str, ...]:
        """The inputs and outputs that stay FP32 because no low node touches them, in graph order."""
        names = [*(value.name for value in self._graph.inputs), *self._output_names]
        return tuple(dict.fromkeys(name or "" for name in names if name in self._kept))

    def settle_inputs(self, uses: Uses, original: Mapping[ir.Value, ir.DataType | None]) -> None:
        """Retype the FP32 inputs that take the low type: all but kept ones and, unless `lower_all_io`, those that
        only FP32 nodes read."""
        for value in self._graph.inputs:
            if original.get(value) != ir.DataType.FLOAT or self._keeps(value):
                continue
            required = uses.required_types(value)
            low = self._low_type(required) if required or not is_tensor(value) else self._low
            if low is None and self._lowers_all(value):
                low = self._low
            if low is None:
                self._kept.add(value.name)
                continue
            retype(value, low)
            if value.const_value is not None:
                store(value, convert_tensor(value.const_value, low, value.name or ""))

    def settle_made_outputs(self, uses: Uses, original: Mapping[ir.Value, ir.DataType | None]) -> None:
        """Add the requested of the FP32 outputs: the low type, unless kept or, without `lower_all_io`,
        touched by FP32 nodes alone."""
        for index, value in enumerate(self._graph.outputs):
            if not value.is_graph_input() and original.get(value) in PRECISION_DTYPES:
                self._settle_output(index, value, self._output_type(value, uses), uses, original)

    def settle_passed_outputs(self, uses: Uses, original: Mapping[ir.Value, ir.DataType | None]) -> None:
        """The same for outputs that are inputs, once the inputs are settled, whose type they have."""
        for index, value in enumerate(self._graph.outputs):
            if value.is_graph_input() and original.get(value) in PRECISION_DTYPES:
                self._settle_output(index, value, element_type(value) or ir.DataType.FLOAT, uses, original)

    def _settle_output(
        self,
        index: int,
        value: ir.Value,
        natural: ir.DataType,
        uses: Uses,
        original: Mapping[ir.Value, ir.DataType | None],
    ) -> None:
        if self._first[index] != index:  # one value as two outputs: one Cast serves both
            return
        requested = original[value] or natural
        if requested == ir.DataType.FLOAT and not self._keeps(value):
            requested = self._low if self._lowers_all(value) else natural
            if requested == ir.DataType.FLOAT:
                self._kept.add(value.name)
        uses.add(value, Use(GraphOutput(self._graph, index), requested))

    def restore_names(self, names: UnusedNames) -> None:
        """Give what now stands at each output the output's name and shape."""
        for index, (before, name) in enumerate(zip(self._outputs, self._output_names, strict=True)):
            if self._first[index] != index:
                self._graph.outputs[index] = self._graph.outputs[self._first[index]]
                continue
            now = self._graph.outputs[index]
            if now is before or now.name == name:
                continue
            suffix = SUFFIX.get(element_type(before) or ir.DataType.UNDEFINED, "source")
            if before.name == name:
                _rename(before, names.fresh(f"{name}_{suffix}"))
            _rename(now, name or "")
            now.shape = before.shape if before.shape is not None else now.shape
            now.doc_string, before.doc_string = before.doc_string, None
            now.metadata_props.update(before.metadata_props)
            before.metadata_props.clear()

    def _keeps(self, value: ir.Value) -> bool:
        return self._settings.keeps_io_type(value.name or "")

    def _lowers_all(self, value: ir.Value) -> bool:
        return self._settings.lower_all_io and is_tensor(value)

    def _output_type(self, value: ir.Value, uses: Uses) -> ir.DataType:
        if not is_tensor(value):
            return element_type(value) or ir.DataType.FLOAT
        producer = value.producer()
        follows_readers = producer is None or not is_counted(producer)
        natural, required = element_type(value), uses.required_types(value)
        if natural in LOW_DTYPES:
            return natural if natural in self._types else self._low
        low = self._low_type(required)
        return self._low if follows_readers and low is None else low or ir.DataType.FLOAT

    def _low_type(self, required: Sequence[ir.DataType]) -> ir.DataType | None:
        """The low type of a value of which readers require these types: the plan's first, where any wants that; its
        second, where all want that; None for FP32."""
        second = (*self._types - {self._low},)
        if second and set(required) & {*LOW_DTYPES} == {*second}:
            return second[0] if ir.DataType.FLOAT not in required else None
        return self._low if any(dtype in LOW_DTYPES for dtype in required) else None


def _rename(value: ir.Value, name: str) -> None:
    """Rename a value; an initializer gets its own view of the tensor first, since a rename reaches into it."""
    tensor = value.const_value
    if tensor is not None:
        value.const_value = convert_tensor(tensor, tensor.dtype, name)
    value.name = name
