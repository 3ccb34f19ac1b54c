"""Stages in a process of their own, with limits; see `tasks.isolation.process`."""

from tasks.isolation.process import (
    IsolatedProcess,
    ProcessLimits,
    StageBugError,
    StageDiedError,
    is_isolated,
    isolated,
    isolation,
)

__all__ = [
    "IsolatedProcess",
    "ProcessLimits",
    "StageBugError",
    "StageDiedError",
    "is_isolated",
    "isolated",
    "isolation",
]
