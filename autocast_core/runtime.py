"""The Protocols that whatever executes a model must satisfy; the pure stages know a runtime only through them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    import onnx_ir as ir


@dataclass(frozen=True)
class RuntimeModel:
    """A model serialised for a runtime; external locations in `bytes` are relative to `data_folder`."""

    bytes: bytes
    data_folder: Path | None


class Session(Protocol):
    """An opened model. ``close`` frees its memory; a closed session must not run again."""

    @property
    def input_names(self) -> Sequence[str]: ...

    @property
    def output_names(self) -> Sequence[str]: ...

    @property
    def backend(self) -> str:
        """What really executes it, as metrics name it, for example ``onnxruntime-cpu``."""
        ...

    def run(self, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Every output in `output_names` order. BackendError if the runtime fails."""
        ...

    def close(self) -> None: ...


class FeedsAhead(Protocol):
    """What a session will be run on, one run each, in this order and on nothing else; may be iterated over again and
    again. Its length is the most that it gives."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Mapping[str, np.ndarray]]: ...


class Runtime(Protocol):
    """Opens models.

    `open` takes an ir.Model whose weights may lie in files (they are not copied through protobuf):

    - `exact` asks for the graph as written, without graph optimisation;
    - `few_runs` says that the session will see only a few batches, so that preparing weights does not pay;
    - `one_thread` asks for computing on the caller's thread alone;
    - `content` is the model serialised, where the caller has it already;
    - `batches` are those that the session will be run on, where they are known: it may compute them ahead, all at its
      first run.

    BackendError if the runtime refuses the model.
    """

    @property
    def name(self) -> str: ...

    def open(
        self,
        model: ir.Model,
        *,
        exact: bool = False,
        few_runs: bool = False,
        one_thread: bool = False,
        content: RuntimeModel | None = None,
        batches: FeedsAhead | None = None,
    ) -> Session: ...
