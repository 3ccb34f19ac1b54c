"""Stage: the model that the plan describes, written to the work folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from prefect import task

from autocast_core.errors import VerificationError
from autocast_core.model.reference import ModelRef
from tasks.isolation import isolated
from tasks.progress import report


@dataclass(frozen=True)
class ConvertedModel:
    """The written model (its digest is that of all its files), all its files, their bytes, and the plan as applied."""

    model: ModelRef
    files: tuple[Path, ...]
    bytes: int
    casts_inserted: int
    plan: Path


def apply_precision(model: ModelRef, plan: Path, folder: Path, file_name: str) -> ConvertedModel:
    """Prints the plan out as `folder`/`file_name` (and FILE_NAME.data from 2 GB on), and leaves nothing on failure."""
    from autocast_core.apply import apply_plan
    from autocast_core.model import load_model, save_model
    from autocast_core.plan import read_plan

    applied = apply_plan(load_model(model), read_plan(plan))
    folder.mkdir(parents=True, exist_ok=True)
    saved = save_model(applied.model, folder / file_name, progress=report)
    files = tuple(path for path in (saved.path, saved.data_path) if path is not None)
    as_applied = folder.parent / "applied" / "plan.json"
    as_applied.parent.mkdir(exist_ok=True)
    as_applied.write_text(applied.plan.to_json(), encoding="utf-8")
    return ConvertedModel(ModelRef(saved.path, saved.sha256), files, saved.bytes, applied.casts_inserted, as_applied)


def check_unchanged(converted: ConvertedModel, digest: str | None = None) -> None:
    """VerificationError where the files, or what was read of them (`digest`), are not those that were verified."""
    from autocast_core.model.digest import files_digest

    path = converted.model.path
    found = digest or files_digest(path.parent, converted.files)
    if found != converted.model.digest:
        raise VerificationError(
            f"{path.name}: its sha256 is {found[:16]}… instead of {converted.model.digest[:16]}…: the work folder was "
            "changed after the model was verified; keep others out of it and run again"
        )


apply_task = task(name="apply", persist_result=True)(isolated(apply_precision, ConvertedModel))
