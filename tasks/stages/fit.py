"""Stage: the plan as the target engine accepts it."""

from __future__ import annotations

from pathlib import Path

from prefect import task

from autocast_core.config import ConversionConfig
from tasks.isolation import isolated
from tasks.stages.decide import Classified
from tasks.stages.sanitize import SanitizedModel


def fit_plan_to_target(
    sanitized: SanitizedModel, classified: Classified, data: Path | None, config: ConversionConfig, folder: Path
) -> Classified:
    """Changes the plan until ``config.target`` accepts the model, and writes it below `folder`.

    `data` (the calibration's) gives dynamic inputs their shapes. What the target said is in the plan.
    """
    from autocast_core.model import load_model
    from autocast_core.pipeline.convert import calibration_batches, fit
    from autocast_core.plan import read_plan

    model = load_model(sanitized.model)
    batches = calibration_batches(model, config, data) if data is not None else None
    plan = fit(model, read_plan(classified.plan), config, batches)
    path = folder / "fitted" / "plan.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(plan.to_json(), encoding="utf-8")
    return Classified(path, plan.summary(), plan.counts(), tuple(plan.warnings))


fit_task = task(name="fit", persist_result=True)(isolated(fit_plan_to_target, Classified))
