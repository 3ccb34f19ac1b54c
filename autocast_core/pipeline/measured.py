"""From a plan to a converted model that was measured, and repaired where that showed that it must be.

Composed once for the command, the Python functions and the flow: what they run around a stage does not change it.
"""

from __future__ import annotations

from typing import Protocol

from autocast_core.config import ConversionConfig
from autocast_core.evaluate import AskedGates
from autocast_core.pipeline.artifacts import Converted
from autocast_core.pipeline.job import Job
from autocast_core.pipeline.outcome.missed_target import MissedTargetError
from autocast_core.pipeline.saved import SavedPlan
from autocast_core.pipeline.stage import Around, Artifacts, in_this_process, run_stages
from autocast_core.pipeline.stages.apply import APPLY
from autocast_core.pipeline.stages.evaluate import EVALUATE, Evaluated
from autocast_core.pipeline.stages.explain import EXPLAIN
from autocast_core.pipeline.stages.plans.fit import FIT
from autocast_core.pipeline.stages.plans.repair import REPAIR
from autocast_core.pipeline.stages.verify import VERIFY
from autocast_core.plan import PrecisionPlan
from autocast_core.search.attribution import Attribution
from autocast_core.search.repair.target import Target, target_of
from autocast_core.search.search_space import soft_nodes

_JUDGED = (APPLY, VERIFY, EVALUATE)


class Asked(Protocol):
    """What a job and a request have in common."""

    @property
    def config(self) -> ConversionConfig: ...

    @property
    def gates(self) -> AskedGates | None: ...


def measured_model(asked: Asked, planned: Artifacts, around: Around, around_repaired: Around) -> Artifacts:
    """The converted model and what was measured of it, after `planned`.

    With ``decide: measured`` the plan is repaired where the model misses its target, or where rules about rounding
    alone kept nodes; then the model is made and measured again, by `around_repaired`. The better of both is the result.
    """
    made = run_stages(_JUDGED, around, planned)
    if not _is_open(asked, made):
        return made
    repaired = run_stages((REPAIR,), around_repaired, made)
    if not _says_more(repaired.made[PrecisionPlan]):
        return repaired
    fitted = () if asked.config.target is None else (FIT,)
    again = run_stages((*fitted, *_JUDGED), around_repaired, repaired)
    return made if len(_target(asked, again).missed) > len(_target(asked, made).missed) else again


def require_target(job: Job, made: Artifacts) -> None:
    """MissedTargetError, with the node that most of the error comes from, where the model misses its target."""
    missed = _target(job, made).missed
    if not missed:
        return
    attribution = run_stages((EXPLAIN,), in_this_process(job), made)[Attribution]
    blame = attribution.blame()
    reasons = "; ".join(f"{result.expression} ({result.reason})" for result in missed)
    said = f"the simulated model misses {reasons}{f'; {blame}' if blame else ''}; nothing was written"
    raise MissedTargetError(f"{said}: look at the plan (--save_plan), or decide by thresholds", made[Converted].plan)


def _is_open(asked: Asked, made: Artifacts) -> bool:
    """Whether measuring further plans can be of use. On random data that no gate accepts it is not."""
    evaluated = made[Evaluated]
    if asked.config.decide != "measured" or not asked.config.repair_evaluations or not evaluated.fidelity:
        return False
    if evaluated.data == "random" and asked.gates is not None and not asked.gates.allow_random:
        return False
    plan: PrecisionPlan | SavedPlan = made.made[PrecisionPlan]
    soft = plan.soft if isinstance(plan, SavedPlan) else len(soft_nodes(plan))
    return soft > 0 or bool(_target(asked, made).missed)


def _target(asked: Asked, made: Artifacts) -> Target:
    evaluated = made[Evaluated]
    return target_of(asked.gates, asked.config.precision, evaluated.metrics, evaluated.names)


def _says_more(plan: PrecisionPlan | SavedPlan) -> bool:
    """Whether a repaired plan decides a node anew, or says that no plan meets the target."""
    found = plan.measured if isinstance(plan, SavedPlan) else plan.measured_metrics()
    return bool(found.get("repair/kept_fp32") or found.get("repair/released")) or not found.get("repair/met", 1.0)
