"""What to correct in a source that onnx.checker refuses, by what its finding says."""

from __future__ import annotations

import re

from autocast_core.errors import ModelError
from autocast_core.operators import first_opset

_REMEDIES: tuple[tuple[str, str], ...] = (
    (r"No Op registered for", "name an operator of ONNX, or give the node the domain of its library"),
    (r"is deprecated in domain_version", "export at an opset that has the operator, or with its successor"),
    (r"No opset import for domain", "import the opset that the model was made with"),
    (r"Unrecognized attribute", "remove or rename the attribute"),
    (r"Required attribute", "give the node this attribute"),
    (r"which nothing before it makes", "make the tensor before, or declare it as an input"),
    (r"is made by no node", "make the output, or remove it"),
    (r"input '.*' has no shape", "declare one, or give one of its rank with --shapes"),
    (r"(in|out)put size \d+ not in range", "correct the node's operands"),
    (r"elem type differs", "correct the declared type"),
    (r"inconsistent type", "cast the operand to the type of the others"),
    (r"differ in (rank|dimension)", "correct the declared shape"),
    (r"[Ii]ncompatible dimensions", "correct the shapes of its operands"),
)
"""Parts of findings, of onnx.checker and of `verify.consistency`, and what to do about them."""
_LATE = re.compile(r"No Op registered for (?P<op_type>\w+) with domain_version of (?P<opset>\d+)")


def invalid_source(finding: str) -> ModelError:
    """The error for a source of which the checker says `finding`, with what to correct."""
    return ModelError(f"the model is not valid ONNX: {finding}: {_remedy(finding)}")


def _remedy(finding: str) -> str:
    late = _LATE.search(finding)
    first = first_opset(late["op_type"]) if late else None
    if late and first is not None and first > int(late["opset"]):
        return f"export the model at opset {first} or higher, the first that has the operator"
    return next((remedy for part, remedy in _REMEDIES if re.search(part, finding)), "correct the export")
