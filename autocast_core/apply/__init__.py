"""Prints a plan out as a model: casts, initializers, control flow."""

from autocast_core.apply.apply import KEPT_NODES_PROPERTY, Applied, apply_in_place, apply_plan

__all__ = ["KEPT_NODES_PROPERTY", "Applied", "apply_in_place", "apply_plan"]
