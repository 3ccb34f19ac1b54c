"""The way back: a model that is stored in 16 bits as one in FP32 throughout. Nothing is measured or decided."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from autocast_core.config import ConversionConfig
from autocast_core.model import ModelSource, SavedModel, save_model
from autocast_core.model.atomic import check_inputs_stay, model_outputs
from autocast_core.pipeline.job import Job
from autocast_core.pipeline.repaired import repaired_interface
from autocast_core.pipeline.stages.load import load
from autocast_core.plan import PlanSettings
from autocast_core.process.garbage_collector import collector_paused
from autocast_core.progress import ProgressCallback, silent
from autocast_core.sanitize import Change, widen_in_place
from autocast_core.verify import verify_widened

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Widened:
    """The written model, what was changed, and warnings."""

    output: SavedModel
    changes: tuple[Change, ...]
    warnings: tuple[str, ...] = ()


@collector_paused()
def widen_file(
    src: ModelSource,
    dst: str | Path,
    keep_io_types: bool | Sequence[str] = False,
    *,
    external_data: bool | None = None,
    progress: ProgressCallback = silent,
) -> Widened:
    """Write the FP16 or BF16 model at `src` to `dst` in FP32: nodes, weights, and graph inputs and outputs.

    Weights keep their values, which FP32 holds exactly; Casts between float types that do nothing any more are gone.
    `keep_io_types` keeps the types of all graph inputs and outputs, or of those named. Operators of domains that no
    schema describes keep their types, between Casts. Opset and structure stay. Raises ModelError for a file that cannot
    be used, OutputError for a destination that cannot be written or is the source's own.
    """
    keep = keep_io_types if isinstance(keep_io_types, bool) else tuple(keep_io_types)
    config = ConversionConfig(keep_io_types=keep)
    job = Job(src, config, progress=progress)
    source = load(job)
    check_inputs_stay(model_outputs(Path(dst)), source.files)
    done = widen_in_place(source.model, config)
    interface = repaired_interface(source.interface, done.changes)
    settings = PlanSettings(keep_io_types=keep)
    verified = verify_widened(done.model, interface, settings, job.runtime, job.original)
    for warning in done.warnings:
        LOG.warning("%s", warning)
    output = save_model(verified.structure, dst, external_data=external_data, progress=progress)
    return Widened(output, (*source.changes, *done.changes), done.warnings)
