"""The finished engine as plain values: its kernels, what each reads, writes and computes, and the ONNX nodes in it.

Bytes are those of the tensors that kernels name, each read or written once in full: an upper bound where a kernel
gathers from a table or its input stays in a cache. Where an engine takes shapes at run time, bytes and operations that
depend on them are None, and so are sums over them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

DescribedBy = Literal["build log", "inspector", "model of fusion"]
"""What tells the kernels of an engine: the log of its build, TensorRT's inspector on a GPU, or, where none was built, a
model of how engines fuse nodes."""


@dataclass(frozen=True)
class Kernel:
    """One kernel of an engine.

    `nodes` are the ids of the ONNX nodes that it computes (none for one that the engine added). `reads`, constants
    among them, and `writes` are element types, as ONNX names them (``float16``), one per tensor. `flops` counts a
    multiply-add as two, of matrix products, convolutions and fused attention; None where shapes do not tell.
    `operand_type` is the element type of those products' operands, the wider where they differ; empty without `flops`.
    `only_moves`: it moves or casts values and computes nothing.
    """

    name: str
    kind: str
    nodes: tuple[str, ...]
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    read_bytes: int | None
    written_bytes: int | None
    flops: int | None = None
    stream: int = 0
    only_moves: bool = False
    fused_attention: bool = False
    operand_type: str = ""

    @property
    def traffic_bytes(self) -> int | None:
        """Bytes read and written; None where either is unknown."""
        return _sum((self.read_bytes, self.written_bytes))


@dataclass(frozen=True)
class EngineView:
    """What an engine made of a model.

    `attention_found` counts the attention cores that the engine recognised, fused or not. `without_kernel` says for
    each ONNX node that no kernel names why: ``constant`` (known when building), ``layout`` (only changes how values
    are laid out), ``control flow``, ``neutral`` (× 1 or + 0), ``in the weights`` (a folded BatchNormalization),
    ``mask`` (makes one that a fused attention kernel takes as it is), ``unused`` (nothing needs its results), ``same as
    another`` (a kernel computes the same of the same), or ``unnamed`` where it computes and the log does not tell in
    which kernel. `described_by` is what told the kernels.
    """

    kernels: tuple[Kernel, ...]
    attention_found: int = 0
    without_kernel: Mapping[str, str] = field(default_factory=dict)
    described_by: DescribedBy = "build log"

    @property
    def attention_fused(self) -> int:
        """How many attention cores are one kernel."""
        return sum(kernel.fused_attention for kernel in self.kernels)

    @property
    def moving(self) -> tuple[Kernel, ...]:
        """The kernels that only move or cast."""
        return tuple(kernel for kernel in self.kernels if kernel.only_moves)

    @property
    def traffic_bytes(self) -> int | None:
        """Bytes that all kernels read and write; None where one is unknown."""
        return _sum(kernel.traffic_bytes for kernel in self.kernels)

    @property
    def cast_bytes(self) -> int | None:
        """Bytes that kernels read and write which only move or cast; None where one is unknown."""
        return _sum(kernel.traffic_bytes for kernel in self.moving)

    def metrics(self) -> dict[str, float]:
        """The counts and sums that are known, under their metric names: ``fusion/*`` of the model of fusion's, else
        ``engine/*``."""
        found: dict[str, float | None] = {
            "kernels": len(self.kernels),
            "cast_kernels": len(self.moving),
            "attention/found": self.attention_found,
            "attention/fused": self.attention_fused,
            "traffic_bytes": self.traffic_bytes,
            "cast_bytes": self.cast_bytes,
        }
        return {f"{self.prefix}/{name}": value for name, value in found.items() if value is not None}

    @property
    def prefix(self) -> str:
        """The first part of the names of its metrics."""
        return "fusion" if self.described_by == "model of fusion" else "engine"

    @staticmethod
    def from_json(raw: Mapping[str, Any]) -> EngineView:
        """The view that `dataclasses.asdict` made plain, perhaps by way of JSON."""
        lists = ("nodes", "reads", "writes")
        kernels = (Kernel(**{**each, **{key: tuple(each[key]) for key in lists}}) for each in raw["kernels"])
        described_by = raw.get("described_by", "build log")
        return EngineView(tuple(kernels), raw["attention_found"], dict(raw["without_kernel"]), described_by)


def _sum(values: Iterable[int | None]) -> int | None:
    """The sum; None where a value is."""
    total = 0
    for value in values:
        if value is None:
            return None
        total += value
    return total
