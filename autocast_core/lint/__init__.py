"""What is wrong or needlessly dear in a model of mixed precision, whoever converted it, seen in the file alone."""

from autocast_core.lint.finding import Check, Finding, Level, Spot
from autocast_core.lint.inspect import Inspection, inspect_model

__all__ = ["Check", "Finding", "Inspection", "Level", "Spot", "inspect_model"]
