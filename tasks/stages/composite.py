"""Stage: evaluate a composite model, several models that feed each other."""

from __future__ import annotations

from autocast_core.composite import CompositeEvaluation, CompositeRequest, evaluate_composite
from tasks.isolation import isolated
from tasks.progress import report


def evaluate_stages(request: CompositeRequest) -> CompositeEvaluation:
    """The FP32 stages beside the converted ones; see autocast_core.composite."""
    return evaluate_composite(request, report)


evaluate_stages_isolated = isolated(evaluate_stages, CompositeEvaluation, name="evaluate")
