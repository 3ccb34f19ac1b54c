"""What a model must pass before work begins, and what the converted one must pass before it is written."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain

import onnx.defs
import onnx_ir as ir

from autocast_core.errors import UnconvertibleError, VerificationError
from autocast_core.graph.walk import nodes_with_ids
from autocast_core.model import ModelSource, model_structure, open_model, read_model
from autocast_core.model.protobuf.serialized_parts import WEIGHTS_LOCATION, Structure, structure_of
from autocast_core.plan import PlanSettings, PrecisionPlan
from autocast_core.runtime import Runtime
from autocast_core.verify.checker import checker_finding
from autocast_core.verify.consistency import broken_edges, inconsistent_tensors, undefined_types
from autocast_core.verify.interface import ModelInterface, interface_changes, model_interface
from autocast_core.verify.loading import load_finding
from autocast_core.verify.remedies import invalid_source

_REMEDY = "this is a bug in AutoCast Flow: report it, and exclude the node meanwhile"
_UNSUPPORTED = re.compile(r"has unsupported type: (?P<type>tensor\(\w+\))")
_NODE = re.compile(r"(?:node name: |Name: )(?P<name>[^\s)]+)")


@dataclass(frozen=True)
class Verified:
    """Result of a successful verification: the `structure` that was checked, the runtime that loaded it (`loaded_by`,
    None where none did), and in `skipped` the checks that were not made, each with its reason."""

    structure: Structure
    loaded_by: str | None = None
    skipped: tuple[str, ...] = ()


def load_checked(source: ModelSource) -> ir.Model:
    """The model in a file, as read_model says, once the file is seen to be valid ONNX; ModelError as check_source."""
    file = open_model(source)
    model = read_model(file)
    _refuse_invalid(model, model_structure(file, WEIGHTS_LOCATION))
    return model


def check_source(model: ir.Model) -> None:
    """ModelError with the finding where the model is not valid ONNX (onnx.checker without full type inference)."""
    _refuse_invalid(model, structure_of(model).data)


def _refuse_invalid(model: ir.Model, structure: bytes) -> None:
    finding = next(chain(broken_edges(model), undefined_types(model)), None) or checker_finding(structure, full=False)
    if finding is not None:
        raise invalid_source(finding)


def verify(
    model: ir.Model,
    interface: ModelInterface,
    plan: PrecisionPlan,
    runtime: Runtime | None,
    original: Callable[[], ir.Model] | None = None,
) -> Verified:
    """Check a converted `model` before it is written. In this order:

    - every value that is read is made before, and every initializer has the type and shape that it declares;
    - inputs and outputs are those of `interface`, the source's: same names, order and known dimensions; FP32 ones have
      a low type of `plan`, or their own where the plan's `keep_io_types` and `io_kept` say so;
    - onnx.checker accepts it, with full type and shape inference;
    - `runtime` loads it, unless that is None. Models of more than 2,000 nodes are loaded by one node of each signature.

    Weights are neither read nor converted. `original` gives the source model, which is loaded only where the runtime
    refuses the converted one: a runtime that refuses both, or lacks an operator, does not fail the model, and
    `skipped` of the result says so.

    Raises VerificationError naming the node or value where a check fails, UnconvertibleError where an operator does not
    take the low type at the model's opset.
    """
    low = frozenset(precision.dtype for precision in plan.low_types)
    changes = interface_changes(interface, model_interface(model), low, plan.settings, frozenset(plan.io_kept))
    return _verified(model, changes, runtime, original)


def verify_widened(
    model: ir.Model,
    interface: ModelInterface,
    settings: PlanSettings,
    runtime: Runtime,
    original: Callable[[], ir.Model] | None = None,
) -> Verified:
    """`verify` for a 16-bit model that is FP32 now; `settings` say which inputs and outputs keep their types."""
    changes = interface_changes(
        interface, model_interface(model), frozenset({ir.DataType.FLOAT}), settings, frozenset()
    )
    return _verified(model, changes, runtime, original)


def _verified(
    model: ir.Model, changes: Iterator[str], runtime: Runtime | None, original: Callable[[], ir.Model] | None
) -> Verified:
    """`changes` are those of the interface that must not be."""
    finding = next(chain(broken_edges(model), inconsistent_tensors(model), changes), None)
    if finding is not None:
        raise VerificationError(f"the converted model is invalid: {finding}: {_REMEDY}")
    structure = structure_of(model)
    refused = checker_finding(structure.data, full=True)
    if refused is not None:
        raise _explained(model, refused)
    if runtime is None:
        return Verified(structure, skipped=("load: no runtime runs this precision here",))
    refusal = load_finding(model, structure, runtime, original)
    if refusal is not None:
        return Verified(structure, skipped=(f"load: {refusal}",))
    return Verified(structure, loaded_by=runtime.name)


def _explained(model: ir.Model, finding: str) -> UnconvertibleError | VerificationError:
    """The error for a finding of the checker: a request that cannot be met, or a bug in AutoCast Flow."""
    unsupported, named = _UNSUPPORTED.search(finding), _NODE.search(finding)
    nodes = {node.name: (path, node) for path, node in nodes_with_ids(model.graph)}
    if unsupported and named and named["name"] in nodes:
        path, node = nodes[named["name"]]
        opset = _first_opset(node, unsupported["type"])
        remedy = f"give --opset {opset} or more" if opset else "exclude the node"
        current = model.graph.opset_imports.get(node.domain)
        return UnconvertibleError(
            f"node {path} ({node.op_type}) does not take {unsupported['type']} at opset {current}: {remedy}"
        )
    return VerificationError(f"onnx.checker refuses the converted model: {finding}: {_REMEDY}")


def _first_opset(node: ir.Node, type_: str) -> int | None:
    """The lowest opset at which some operand of the operator admits `type_`."""
    versions = [
        schema.since_version
        for schema in onnx.defs.get_all_schemas_with_history()
        if schema.name == node.op_type
        and schema.domain == node.domain
        and any(type_ in constraint.allowed_type_strs for constraint in schema.type_constraints)
    ]
    return min(versions, default=None)
