"""What is wrong or needlessly expensive in a model of mixed precision, whoever converted it, seen in the file alone."""

from autocast_core.lint.finding import Check, Level, LintFinding, Spot
from autocast_core.lint.inspect import Inspection, inspect_model

__all__ = ["Check", "Inspection", "Level", "LintFinding", "Spot", "inspect_model"]
