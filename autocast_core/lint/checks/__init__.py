"""The registry: every check, in the order of codes.

A new one takes a function in the module of its family, its entry there, and its page infra/docs/lint/CODE.md.
"""

from __future__ import annotations

from autocast_core.lint.checks.attention import ATTENTION
from autocast_core.lint.checks.casts import CASTS
from autocast_core.lint.checks.constants import CONSTANTS
from autocast_core.lint.checks.guards import GUARDS
from autocast_core.lint.checks.insides import INSIDES
from autocast_core.lint.checks.islands import ISLANDS
from autocast_core.lint.checks.reference import REFERENCE
from autocast_core.lint.checks.target import TARGET
from autocast_core.lint.checks.weights import WEIGHTS
from autocast_core.lint.finding import Check

__all__ = ["CHECKS"]

_FAMILIES: tuple[tuple[Check, ...], ...] = (
    ATTENTION,
    CASTS,
    ISLANDS,
    CONSTANTS,
    GUARDS,
    REFERENCE,
    INSIDES,
    WEIGHTS,
    TARGET,
)

CHECKS: tuple[Check, ...] = tuple(
    sorted((check for family in _FAMILIES for check in family), key=lambda check: check.code)
)
