"""What stages hand on, while it is in memory; `saved` has the forms in which it travels between processes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from autocast_core.model import ModelRef
from autocast_core.plan import PrecisionPlan
from autocast_core.sanitize.change import Change
from autocast_core.verify import ModelInterface


@dataclass(frozen=True)
class LoadedSource:
    """A valid model before anything was changed, what it promises its users, and its files (none: it is in memory).

    `model` is the next stage's to change. `changes` are repairs of what it failed to declare.
    """

    model: ir.Model
    interface: ModelInterface
    files: tuple[Path, ...] = ()
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True)
class SanitizedSource:
    """The graph that plans speak of, what led to it, and what the source promised."""

    model: ir.Model
    interface: ModelInterface
    changes: tuple[Change, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Converted:
    """The converted model, the plan as applied, and how many Casts were inserted; `file` where it is written."""

    model: ir.Model
    plan: PrecisionPlan
    casts_inserted: int
    file: ModelRef | None = None
