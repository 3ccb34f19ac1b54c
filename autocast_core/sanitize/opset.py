"""Pass `opset`: the default domain's opset is one that the low type can be used at.

- The opset is the model's own, at least ``minimum_opset`` of the low types, or ``config.opset``; raised where
  OPSET_NEEDS says so, and to that of a normalization that is to be fused; never below the model's own.
- Upgrades the nodes of the main graph and of all bodies to it, and the IR version with it.
- Does not act where the model's opset already is the one to convert at, or where the default domain is not used.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import onnx
import onnx_ir as ir

from autocast_core.config import ConversionConfig
from autocast_core.errors import ConfigError
from autocast_core.graph.names import UnusedNames, node_names, value_names
from autocast_core.graph.walk import all_nodes
from autocast_core.sanitize.change import OPSET, Change
from autocast_core.sanitize.normalizations import layernorm, rmsnorm
from autocast_core.sanitize.upgrade import upgrade_nodes
from autocast_core.text import how_many


@dataclass(frozen=True)
class OpsetNeed:
    """An opset that certain nodes need before they can take part in mixed precision, and why."""

    opset: int
    why: str
    applies: Callable[[ir.Node], bool]


def _has_float_scale(node: ir.Node) -> bool:
    scale = node.inputs[1] if len(node.inputs) > 1 else None
    return scale is not None and (scale.dtype is None or scale.dtype.is_floating_point())


def _touches(*dtypes: ir.DataType) -> Callable[[ir.Node], bool]:
    wanted = frozenset(dtypes)
    return lambda node: any(value is not None and value.dtype in wanted for value in (*node.inputs, *node.outputs))


_INT4 = _touches(ir.DataType.INT4, ir.DataType.UINT4)
_FP4 = _touches(ir.DataType.FLOAT4E2M1)
_QUANTIZERS = frozenset({"QuantizeLinear", "DequantizeLinear"})

OPSET_NEEDS: tuple[OpsetNeed, ...] = (
    OpsetNeed(19, "16-bit scales of QuantizeLinear and DequantizeLinear", _has_float_scale),
    OpsetNeed(21, "INT4 values of QuantizeLinear and DequantizeLinear", _INT4),
    OpsetNeed(23, "FP4 values of QuantizeLinear and DequantizeLinear", _FP4),
)
"""What quantization needs: ONNX operators QuantizeLinear and DequantizeLinear, versions 19, 21 and 23."""


@dataclass(frozen=True)
class OpsetChoice:
    """The opset to convert at and what to tell the user about it."""

    opset: int
    warnings: tuple[str, ...] = ()


def choose_opset(model: ir.Model, config: ConversionConfig) -> OpsetChoice | None:
    """The opset that conversion works at, and warnings; None for a model that does not use the default domain.

    Raises ConfigError where ``config.opset`` is above what the installed onnx knows."""
    own = model.graph.opset_imports.get("")
    if own is None:
        return None
    warnings = []
    neediest = max(config.low_types, key=lambda precision: precision.minimum_opset)
    wanted, minimum = config.opset, neediest.minimum_opset
    opset = max(own, minimum)
    if wanted is not None:
        opset = max(own, wanted)
        if wanted > max(own, onnx.defs.onnx_opset_version()):
            raise ConfigError(f"opset {wanted} is unknown: give at most {onnx.defs.onnx_opset_version()}")
        if wanted < own:
            warnings.append(f"opset {wanted} is below the model's own: keeping {own}, as a lower one may break it")
        if opset < minimum:
            warnings.append(f"opset {opset} is below {minimum}, the recommended minimum for {neediest}")
    need = _strongest_need(model, config)
    if need is not None and need.opset > opset:
        if wanted is not None:
            warnings.append(f"opset raised from {opset} to {need.opset} for {need.why}")
        opset = need.opset
    return OpsetChoice(opset, tuple(warnings))


def _strongest_need(model: ir.Model, config: ConversionConfig) -> OpsetNeed | None:
    quantizers = [node for node in all_nodes(model.graph) if node.domain == "" and node.op_type in _QUANTIZERS]
    needs = [need for need in OPSET_NEEDS if any(need.applies(node) for node in quantizers)]
    own = model.graph.opset_imports[""]
    if config.fuse_layer_norm and own < layernorm.FIRST_OPSET and layernorm.has_layer_norm_parts(model):
        needs.append(OpsetNeed(layernorm.FIRST_OPSET, "LayerNormalization", lambda node: False))
    if config.fuse_rms_norm and own < rmsnorm.FIRST_OPSET and rmsnorm.has_rms_norm_parts(model):
        needs.append(OpsetNeed(rmsnorm.FIRST_OPSET, "RMSNormalization", lambda node: False))
    return max(needs, key=lambda need: need.opset, default=None)


def raise_opset(model: ir.Model, config: ConversionConfig) -> tuple[Change, ...]:
    """Upgrade nodes to the opset of `choose_opset`; see the module.

    `Change.nodes` names the nodes that were rewritten; where it is empty, all operators mean the same in both opsets.
    Raises UnconvertibleError, naming the operator, where an upgrade is impossible; ConfigError as `choose_opset`."""
    choice = choose_opset(model, config)
    own = model.graph.opset_imports.get("")
    if choice is None or own is None or choice.opset == own:
        return ()
    replaced = raise_nodes(model, choice.opset)
    detail = f"opset raised from {own} to {choice.opset}, {how_many(len(replaced), 'node')} rewritten"
    return (Change(OPSET, detail, tuple(str(node.name) for node in replaced)),)


def raise_nodes(model: ir.Model, opset: int) -> tuple[ir.Node, ...]:
    """Raise the default domain of `model`, which is imported, to the higher `opset`; the nodes that were rewritten.

    UnconvertibleError, naming the operator, where an upgrade is impossible."""
    own, nodes = model.graph.opset_imports[""], list(all_nodes(model.graph))
    replaced = upgrade_nodes(nodes, own, opset, UnusedNames(node_names(model)), UnusedNames(value_names(model)))
    model.graph.opset_imports[""] = opset
    model.ir_version = max(model.ir_version, minimum_ir_version(opset))
    return replaced


def lower_ir_version(model: ir.Model, config: ConversionConfig) -> tuple[Change, ...]:
    """Lower the IR version to ``config.max_ir_version``, or to what the opset needs where that is higher."""
    own, opset = model.ir_version, model.graph.opset_imports.get("")
    model.ir_version = min(own, max(config.max_ir_version, 0 if opset is None else minimum_ir_version(opset)))
    if model.ir_version == own:
        return ()
    return (Change("ir_version", f"IR version lowered from {own} to {model.ir_version}"),)


def minimum_ir_version(opset: int) -> int:
    """The lowest IR version that ONNX pairs with an opset of the default domain; see its Versioning page."""
    return int(onnx.helper.find_min_ir_version_for([onnx.helper.make_opsetid("", opset)], ignore_unknown=True))
