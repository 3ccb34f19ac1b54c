"""Which operands may follow a node's precision in one model: its opsets, and what the user says beyond the schemas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import onnx_ir as ir

from autocast_core.config import ConversionConfig
from autocast_core.operators.plugins import parse_plugin_precisions
from autocast_core.plan import PluginPrecision, PrecisionPlan


@dataclass(frozen=True)
class OperandPolicy:
    """What `float_operands` goes by; made once for a model, so that every stage sees the operands that apply moves.

    `opsets` maps a domain to its version. `plugins` are the precisions of custom operators. `blocks` names operands to
    leave in FP32, per operator type the indices under ``inp`` and ``out``: all operands that share a type variable with
    one of them stay with it.
    """

    opsets: Mapping[str, int]
    plugins: Mapping[str, PluginPrecision] = field(default_factory=dict)
    blocks: Mapping[str, Mapping[str, Sequence[int]]] = field(default_factory=dict)

    @staticmethod
    def of_config(model: ir.Model, config: ConversionConfig) -> OperandPolicy:
        """That of a conversion of `model` by `config`. ConfigError for a plugin precision that cannot be read."""
        plugins = parse_plugin_precisions(config.trt_plugins_precision)
        return OperandPolicy(model.opset_imports, plugins, config.operands_to_exclude)

    @staticmethod
    def of_plan(model: ir.Model, plan: PrecisionPlan) -> OperandPolicy:
        """That of a `plan` for `model`."""
        return OperandPolicy(model.opset_imports, plan.settings.plugin_precisions, plan.settings.operands_to_exclude)
