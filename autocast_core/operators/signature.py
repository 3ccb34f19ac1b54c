"""Type signatures of operators: from ONNX's schemas, and for ONNX Runtime's own operators from contrib.json."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

import onnx.defs


@dataclass(frozen=True)
class Signature:
    """Type strings of an operator's operands: a type variable (``T``) or a type (``tensor(float)``).

    The last input (output) repeats for further operands where `variadic_inputs` (`variadic_outputs`) is set; one that
    is not homogeneous binds its variable anew at each. `constraints` maps a variable to the types it may take.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    variadic_inputs: bool
    variadic_outputs: bool
    constraints: Mapping[str, frozenset[str]]

    def input_type(self, index: int) -> str | None:
        """The type string of input `index`, None beyond the last."""
        return _at(self.inputs, index, self.variadic_inputs)

    def output_type(self, index: int) -> str | None:
        """The type string of output `index`, None beyond the last."""
        return _at(self.outputs, index, self.variadic_outputs)

    def admits(self, type_string: str | None, wanted: str) -> bool:
        """Whether an operand declared as `type_string` may be a `wanted`, for example ``tensor(float16)``."""
        if type_string is None:
            return False
        return wanted in self.constraints.get(type_string, (type_string,))


def _at(types: tuple[str, ...], index: int, variadic: bool) -> str | None:
    if index < len(types):
        return types[index]
    return types[-1] if variadic and types else None


@functools.lru_cache(maxsize=4096)
def find_signature(domain: str, op_type: str, opset: int) -> Signature | None:
    """The signature of an operator at an opset of its domain, None where nothing describes it."""
    try:
        return _from_schema(onnx.defs.get_schema(op_type, opset, domain))
    except onnx.defs.SchemaError:
        return _contrib().get((domain, op_type))


def is_runtime_operator(op_type: str) -> bool:
    """Whether a runtime, and not ONNX in any version, has an operator of this name in ONNX's own domain."""
    return ("", op_type) in _contrib() and ("", op_type) not in _history()


def is_microsoft_operator(op_type: str) -> bool:
    """Whether ONNX Runtime has an operator of this name in its domain ``com.microsoft``, and nobody in ONNX's own."""
    return ("com.microsoft", op_type) in _contrib() and first_opset(op_type) is None and ("", op_type) not in _contrib()


def first_opset(op_type: str) -> int | None:
    """The first opset of ONNX's own domain that has the operator; None where none has."""
    return min((schema.since_version for schema in _history().get(("", op_type), ())), default=None)


def newest_version(domain: str) -> int | None:
    """The newest version of a domain that ONNX describes; None for any other domain."""
    versions = [s.since_version for (each, _), schemas in _history().items() if each == domain for s in schemas]
    return max(versions, default=None)


def supporting_opset(domain: str, op_type: str, index: int, wanted: str) -> int | None:
    """The lowest opset at which output `index` (input ``-1 - index`` for negative) of an operator may be `wanted`."""
    versions: list[int] = sorted({s.since_version for s in _history().get((domain, op_type), ())})
    for version in versions:
        signature = find_signature(domain, op_type, version)
        if signature is None:
            continue
        declared = signature.output_type(index) if index >= 0 else signature.input_type(-1 - index)
        if signature.admits(declared, wanted):
            return version
    return None


@functools.lru_cache(maxsize=1)
def _history() -> Mapping[tuple[str, str], tuple[Any, ...]]:
    found: dict[tuple[str, str], list[Any]] = {}
    for schema in onnx.defs.get_all_schemas_with_history():
        found.setdefault((schema.domain, schema.name), []).append(schema)
    return {key: tuple(schemas) for key, schemas in found.items()}


def _from_schema(schema: onnx.defs.OpSchema) -> Signature:
    variadic = onnx.defs.OpSchema.FormalParameterOption.Variadic
    return Signature(
        inputs=tuple(formal.type_str for formal in schema.inputs),
        outputs=tuple(formal.type_str for formal in schema.outputs),
        variadic_inputs=bool(schema.inputs) and schema.inputs[-1].option == variadic,
        variadic_outputs=bool(schema.outputs) and schema.outputs[-1].option == variadic,
        constraints={item.type_param_str: frozenset(item.allowed_type_strs) for item in schema.type_constraints},
    )


@functools.lru_cache(maxsize=1)
def _contrib() -> Mapping[tuple[str, str], Signature]:
    table = json.loads(resources.files(__package__).joinpath("contrib.json").read_text(encoding="utf-8"))
    return {
        (domain, op_type): Signature(
            inputs=tuple(entry["inputs"]),
            outputs=tuple(entry["outputs"]),
            variadic_inputs=entry["variadic_inputs"],
            variadic_outputs=entry["variadic_outputs"],
            constraints={name: frozenset(allowed) for name, allowed in entry["constraints"].items()},
        )
        for domain, operators in table.items()
        for op_type, entry in operators.items()
    }
