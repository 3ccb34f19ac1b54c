"""Stage: the source model as a graph that the other stages can work on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from prefect import task

from autocast_core.config import ConversionConfig
from autocast_core.model.reference import ModelRef
from autocast_core.sanitize.change import Change
from tasks.isolation import isolated


@dataclass(frozen=True)
class SanitizedModel:
    """The sanitized model with its weights by reference, what was changed, and warnings."""

    model: ModelRef
    changes: tuple[Change, ...] = ()
    warnings: tuple[str, ...] = ()
    opset_changed: bool = False


def sanitize_model(source: ModelRef, config: ConversionConfig, folder: Path) -> SanitizedModel:
    """Checks the model at `source`, sanitizes it and writes the result below `folder`.

    ModelError where the source is no valid ONNX model.
    """
    from autocast_core.model import save_skeleton
    from autocast_core.sanitize import sanitize_in_place
    from autocast_core.verify import load_checked

    sanitized = sanitize_in_place(load_checked(source), config)
    folder.mkdir(parents=True, exist_ok=True)
    reference = save_skeleton(sanitized.model, folder / "sanitized.onnx")
    return SanitizedModel(reference, sanitized.changes, sanitized.warnings, sanitized.opset_changed)


sanitize_task = task(name="sanitize", persist_result=True)(isolated(sanitize_model, SanitizedModel))
