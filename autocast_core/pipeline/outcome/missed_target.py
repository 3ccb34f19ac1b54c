"""The error of a conversion whose measured model is ruined."""

from __future__ import annotations

from autocast_core.errors import GateError
from autocast_core.plan import PrecisionPlan


class MissedTargetError(GateError):
    """No plan that was measured reaches the target; `plan` is the best of them."""

    def __init__(self, message: str, plan: PrecisionPlan) -> None:
        super().__init__(message)
        self.plan = plan
