"""Stage: what every tensor's values look like on calibration data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from prefect import task

from autocast_core.config import ConversionConfig
from autocast_core.model.reference import ModelRef
from tasks.isolation import isolated
from tasks.progress import report
from tasks.stages.sanitize import SanitizedModel


@dataclass(frozen=True)
class Calibrated:
    """Where the statistics lie (JSON), and on what they were measured; `skipped` says why there are none."""

    statistics: Path
    origin: str
    batches: int
    digest: str | None = None
    backend: str | None = None
    skipped: str | None = None


def calibrate(
    source: ModelRef, sanitized: SanitizedModel, data: Path | None, config: ConversionConfig, folder: Path
) -> Calibrated:
    """Runs the sanitized model once over `data` (seeded random data without); writes the statistics below `folder`.

    Where sanitize upgraded the opset, the outputs before and after are compared first. DataError where the data does
    not fit the model's inputs, UnconvertibleError where the upgrade changed what the model computes.
    """
    from autocast_core.model import load_model
    from autocast_core.pipeline.convert import calibrate_model, calibration_batches, check_upgrade, open_runtime

    model, runtime = load_model(sanitized.model), open_runtime(config)
    batches = calibration_batches(model, config, data)
    if sanitized.opset_changed and batches is not None:
        check_upgrade(load_model(source), model, batches, runtime)
    statistics = calibrate_model(model, config, runtime, batches, report)
    path = folder / "statistics.json"
    path.write_text(statistics.to_json(), encoding="utf-8")
    return Calibrated(
        path, statistics.origin, statistics.batches, statistics.digest, statistics.backend, statistics.skipped
    )


calibrate_task = task(name="calibrate", persist_result=True)(isolated(calibrate, Calibrated))
