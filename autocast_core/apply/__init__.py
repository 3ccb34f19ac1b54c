"""Applies a plan to a model: casts, initializers, control flow."""

from autocast_core.apply.apply import Applied, apply_in_place, apply_plan

__all__ = ["Applied", "apply_in_place", "apply_plan"]
