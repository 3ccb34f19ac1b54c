"""What a source promises once sanitize has corrected what it declared."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from autocast_core.sanitize.change import Change
from autocast_core.sanitize.types import DECLARED_OUTPUTS
from autocast_core.verify import ModelInterface


def repaired_interface(declared: ModelInterface, changes: Iterable[Change]) -> ModelInterface:
    """`declared` without the dimensions of outputs whose declaration `changes` found to be wrong."""
    wrong = {name for change in changes if change.step == DECLARED_OUTPUTS for name in change.nodes}
    if not wrong:
        return declared
    outputs = (replace(port, dims=None) if port.name in wrong else port for port in declared.outputs)
    return replace(declared, outputs=tuple(outputs))
