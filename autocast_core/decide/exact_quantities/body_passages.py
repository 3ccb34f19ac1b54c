"""Steps backward between the values of a graph and those of the bodies in it."""

from __future__ import annotations

from collections.abc import Iterable

import onnx_ir as ir

from autocast_core.operators import ports_of


class BodyPassages:
    """Where the inputs of bodies and the outputs of control flow among `nodes`, all of a model, take numbers from."""

    def __init__(self, nodes: Iterable[ir.Node]) -> None:
        ports = [port for node in nodes for port in ports_of(node)]
        self._into = {port.inner_input: port for port in ports if port.inner_input is not None}
        self._out_of = {port.outer_output: port for port in ports if port.outer_output is not None}

    def before(self, value: ir.Value) -> list[ir.Value] | None:
        """The values that `value` takes its numbers from; None where it is neither a body's input nor its result."""
        port = self._into.get(value) or self._out_of.get(value)
        if port is None:
            return None
        outside = () if port.inner_input is None else (port.outer_input,)
        return [each for each in (*outside, *port.inner_outputs) if each is not None]
