from .config import ConversionConfig, Precision
from .decide.rule import NodeRuleBase, Rule
from .errors import AutocastError
from .pipeline.convert import Conversion, convert_file
from .pipeline.other_tools.compat import convert_to_f16, convert_to_mixed_precision
from .pipeline.other_tools.onnxconverter_common import auto_convert_mixed_precision, convert_float_to_float16
from .pipeline.tune import tune_file
from .pipeline.widen_file import widen_file
from .plan import NodeDecision, PrecisionPlan, read_plan
from .process.log_setup import configure_logging
from .search.result import SearchResult

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
    "auto_convert_mixed_precision",
    "configure_logging",
    "convert_file",
    "convert_float_to_float16",
    "convert_to_f16",
    "convert_to_mixed_precision",
    "read_plan",
    "tune_file",
    "widen_file",
]
