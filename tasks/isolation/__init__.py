"""Stages in a process of their own, with limits; see `tasks.isolation.process`."""

from tasks.isolation.process import (
    IsolatedProcess,
    Limits,
    StageDefectError,
    StageDiedError,
    isolated,
    isolation,
)

__all__ = ["IsolatedProcess", "Limits", "StageDefectError", "StageDiedError", "isolated", "isolation"]
