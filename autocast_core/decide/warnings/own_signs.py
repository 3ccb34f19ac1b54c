"""What a plan says of weights, and warns of, after a search or a repair has decided nodes otherwise than the rules."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir
from msgspec.structs import replace

from autocast_core.calibrate.statistics import TensorStats
from autocast_core.decide.warnings.plan_warnings import signs_of_ruin
from autocast_core.decide.warnings.weight_changes import recounted_weights
from autocast_core.plan import PrecisionPlan


def with_own_signs(
    model: ir.Model, plan: PrecisionPlan, before: PrecisionPlan, weights: Mapping[str, TensorStats]
) -> PrecisionPlan:
    """`plan` with what its decisions mean for weights, and the warnings of that in place of those of `before`, the plan
    that it was made of.

    `weights` are those of the sanitized `model`, see `scan_weights`; those that a low node clamps are read again.
    """
    plan = replace(plan, weights=recounted_weights(model, plan, weights))
    stale = signs_of_ruin(before, None)
    others = (warning for warning in plan.warnings if warning not in stale)
    return replace(plan, warnings=(*signs_of_ruin(plan, None), *others))
