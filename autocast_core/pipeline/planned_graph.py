"""The graph that a plan is for: the sanitized one, after the repairs of range that the plan names."""

from __future__ import annotations

from dataclasses import replace

import onnx_ir as ir
from msgspec import UNSET

from autocast_core.config import ConversionConfig
from autocast_core.errors import PlanError
from autocast_core.model.structure_digest import structure_digest
from autocast_core.pipeline.artifacts import SanitizedSource
from autocast_core.plan import PrecisionPlan
from autocast_core.sanitize.change import Change
from autocast_core.sanitize.range_repairs import MASKED_ROWS, RANGE_STEPS, repair_ranges_in_place


def planned_config(config: ConversionConfig, plan: PrecisionPlan) -> ConversionConfig:
    """`config` as far as it decides which graph `plan` is for: its precision, and its repairs of range."""
    repaired = any(each.step in (*RANGE_STEPS, MASKED_ROWS) for each in plan.sanitize)
    return replace(config, precision=plan.precision, range_precision=plan.range_precision, repair_ranges=repaired)


def planned_graph(sanitized: SanitizedSource, plan: PrecisionPlan) -> SanitizedSource:
    """`sanitized`, with its model as `planned_model`."""
    model = planned_model(sanitized.model, plan)
    return sanitized if model is sanitized.model else replace(sanitized, model=model)


def planned_model(model: ir.Model, plan: PrecisionPlan) -> ir.Model:
    """A sanitized model as `plan` speaks of it: itself where the plan has no repair of range, or where the model was
    made by the plan and has them, else a repaired copy that shares its weights.

    PlanError where the model lacks what the plan repairs.
    """
    repairs = [
        Change(
            each.step,
            each.detail,
            each.nodes,
            () if each.operands is UNSET else tuple(each.operands),
            0 if each.exponent is UNSET else each.exponent,
        )
        for each in plan.sanitize
        if each.step in RANGE_STEPS
    ]
    if not repairs or structure_digest(model) == plan.structure_digest:
        return model
    try:
        return repair_ranges_in_place(model.clone(), repairs).model
    except (KeyError, IndexError, ValueError, AssertionError) as error:
        raise PlanError(f"the plan repairs what this model does not have ({error}): make a plan for it") from error
