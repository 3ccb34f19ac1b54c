"""Writes operators/contrib.json: the type signatures of ONNX Runtime's operators that no ONNX schema describes.

The source is ONNX Runtime's own registry (``get_all_operator_schema``), read from the installed release:

    python infra/contrib_signatures.py

Only types that a precision can change are kept (float, float16, bfloat16), and only operators that admit one of them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx.defs
import onnxruntime.capi.onnxruntime_pybind11_state as state

FLOATS = ("tensor(float)", "tensor(float16)", "tensor(bfloat16)")
DOMAINS = ("com.microsoft", "")


def signature(schema: Any) -> dict[str, Any]:
    """One operator: type strings of inputs and outputs, whether the last repeats, and the constraints on variables."""
    constraints = {
        item.type_param_str: [name for name in FLOATS if name in item.allowed_type_strs]
        for item in schema.type_constraints
    }
    return {
        "inputs": [formal.typeStr for formal in schema.inputs],
        "outputs": [formal.typeStr for formal in schema.outputs],
        "variadic_inputs": _ends_variadic(schema.inputs),
        "variadic_outputs": _ends_variadic(schema.outputs),
        "constraints": {name: allowed for name, allowed in constraints.items() if allowed},
    }


def _ends_variadic(formals: Sequence[Any]) -> bool:
    return bool(formals) and str(formals[-1].option).endswith("Variadic")


def main() -> None:
    """Write the file that the operators room reads."""
    known = {(schema.domain, schema.name) for schema in onnx.defs.get_all_schemas_with_history()}
    table: dict[str, dict[str, Any]] = {domain: {} for domain in DOMAINS}
    for schema in state.get_all_operator_schema():
        if schema.domain in table and (schema.domain, schema.name) not in known:
            entry = signature(schema)
            if entry["constraints"]:
                table[schema.domain][schema.name] = entry
    target = Path(__file__).parents[1] / "autocast_core" / "operators" / "contrib.json"
    target.write_text(json.dumps(table, sort_keys=True, separators=(",", ":")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
