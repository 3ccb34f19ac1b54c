"""Stage: the precision plan."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace
from prefect import task

from autocast_core.config import ConversionConfig
from autocast_core.model.reference import ModelRef
from autocast_core.plan import PlanCounts
from tasks.isolation import isolated
from tasks.progress import report
from tasks.stages.calibrate import Calibrated
from tasks.stages.sanitize import SanitizedModel


@dataclass(frozen=True)
class Classified:
    """Where the plan lies (canonical JSON), its summary line and its counts of nodes."""

    plan: Path
    summary: str
    counts: PlanCounts
    warnings: tuple[str, ...] = ()

    @property
    def metrics(self) -> dict[str, float]:
        """The counts under their metric names."""
        return self.counts.metrics()


def classify_nodes(
    sanitized: SanitizedModel, calibrated: Calibrated, config: ConversionConfig, folder: Path
) -> Classified:
    """Decides every node's precision from the statistics and the weights, and writes the plan below `folder`."""
    from autocast_core.calibrate import Statistics, scan_weights
    from autocast_core.decide import decide
    from autocast_core.model import load_model
    from autocast_core.pipeline.convert import engine_version

    graph = load_model(sanitized.model)
    statistics = Statistics.from_json(calibrated.statistics.read_text(encoding="utf-8"))
    weights = scan_weights(graph, config.precision, progress=report)
    plan = decide(graph, statistics, weights, config, changes=sanitized.changes)
    plan = replace(plan, engine_version=engine_version())
    path = folder / "plan.json"
    path.write_text(plan.to_json(), encoding="utf-8")
    return Classified(path, plan.summary(), plan.counts(), tuple(plan.warnings))


classify_task = task(name="classify", persist_result=True)(isolated(classify_nodes, Classified))


def count_casts(model: ModelRef, plan: Path) -> int:
    """How many casts applying the plan would insert; nothing is written."""
    from autocast_core.apply import apply_plan
    from autocast_core.model import load_model
    from autocast_core.plan import read_plan

    return apply_plan(load_model(model), read_plan(plan)).casts_inserted


casts_of_plan = isolated(count_casts, int)
