"""Converts FP32 ONNX models to mixed precision and says why; knows no orchestrator, tracking server or object store.

The public names are imported when they are first used, so that a small part costs no more than itself.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autocast_core.config import ConversionConfig, Precision
    from autocast_core.decide.rule import NodeRuleBase, Rule
    from autocast_core.errors import AutocastError
    from autocast_core.pipeline.convert import Conversion, convert_file, convert_to_f16, convert_to_mixed_precision
    from autocast_core.pipeline.tune import tune_file
    from autocast_core.plan import NodeDecision, PrecisionPlan, read_plan
    from autocast_core.search.result import SearchResult

__all__ = [
    "AutocastError",
    "Conversion",
    "ConversionConfig",
    "NodeDecision",
    "NodeRuleBase",
    "Precision",
    "PrecisionPlan",
    "Rule",
    "SearchResult",
    "convert_file",
    "convert_to_f16",
    "convert_to_mixed_precision",
    "read_plan",
    "tune_file",
]

_HOMES = {
    "AutocastError": "errors",
    "Conversion": "pipeline.convert",
    "ConversionConfig": "config",
    "NodeDecision": "plan",
    "NodeRuleBase": "decide.rule",
    "Precision": "config",
    "PrecisionPlan": "plan",
    "Rule": "decide.rule",
    "SearchResult": "search.result",
    "convert_file": "pipeline.convert",
    "convert_to_f16": "pipeline.convert",
    "convert_to_mixed_precision": "pipeline.convert",
    "read_plan": "plan",
    "tune_file": "pipeline.tune",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
