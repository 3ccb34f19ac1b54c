"""What may be low: operator schemas, and one data file for what they do not say."""

from autocast_core.operators.inference import infer_missing_types
from autocast_core.operators.operands import Operands, float_operands, output_type_fact, wide_operands
from autocast_core.operators.plugins import parse_plugin_precisions
from autocast_core.operators.policy import OperandPolicy
from autocast_core.operators.ports import BodyPort, ports_of
from autocast_core.operators.signature import (
    first_opset,
    is_microsoft_operator,
    is_runtime_operator,
    newest_version,
)
from autocast_core.operators.types import element_type, is_tensor, type_string, with_element_type

__all__ = [
    "BodyPort",
    "OperandPolicy",
    "Operands",
    "element_type",
    "first_opset",
    "float_operands",
    "infer_missing_types",
    "is_microsoft_operator",
    "is_runtime_operator",
    "is_tensor",
    "newest_version",
    "output_type_fact",
    "parse_plugin_precisions",
    "ports_of",
    "type_string",
    "wide_operands",
    "with_element_type",
]
