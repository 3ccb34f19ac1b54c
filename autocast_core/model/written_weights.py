"""Converted weights in files, written once for all models that read them, so that sessions map them instead."""

from __future__ import annotations

import copy
from collections.abc import Hashable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

import onnx_ir as ir

from autocast_core.model.tensors import ConvertedTensor
from autocast_core.model.writer import origin_key, write_weights

_WORTH_A_FILE = 1 << 16
"""Bytes of a weight from which on it is written; smaller ones are converted anew for each model."""


@dataclass
class WrittenWeights:
    """Weights that lie in `folder`, which must outlast every model and session that reads them.

    On disk they take the bytes of each weight once for each type that it is converted to. Several threads may use it.
    """

    folder: Path
    _known: dict[Hashable, tuple[ConvertedTensor, ir.TensorProtocol]] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def read_by(self, model: ir.Model) -> None:
        """Lets large initializers of the main graph that are converted when they are read lie in a file.

        OutputError where they cannot be written, ModelError where their source cannot be read.
        """
        found = {
            value: tensor
            for value in model.graph.initializers.values()
            if isinstance(tensor := value.const_value, ConvertedTensor) and tensor.nbytes >= _WORTH_A_FILE
        }
        with self._lock:
            new = [tensor for tensor in found.values() if origin_key(tensor) not in self._known]
            written = write_weights(new, self.folder / f"weights-{len(self._known)}") if new else {}
            # The source is kept, too: a key may hold its identity.
            self._known |= {origin_key(tensor): (tensor, written[origin_key(tensor)]) for tensor in new}
        for value, tensor in found.items():
            # An object for each model: writing a model names its tensors, and another thread may be writing this one.
            value.const_value = copy.copy(self._known[origin_key(tensor)][1])
