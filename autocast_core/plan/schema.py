"""What a plan file holds, as a JSON schema for those who read or write one without this package."""

from __future__ import annotations

from typing import Any

from autocast_core.config import Precision
from autocast_core.plan import PLAN_FORMAT

_TEXT = {"type": "string"}
_NUMBER = {"type": ["number", "null"]}
_DIGEST = {"type": "string", "pattern": "^[0-9a-f]{64}$"}


def plan_schema() -> dict[str, Any]:
    """The schema of ``PrecisionPlan.to_json``: JSON Schema, draft 2020-12. `format` is the version of the form."""
    required = ("format", "precision", "structure_digest", "weights_digest", "nodes")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Precision plan",
        "description": "Per node of a sanitized ONNX model the type that it computes in, and why.",
        "type": "object",
        "required": list(required),
        "additionalProperties": False,
        "properties": {
            "format": {"const": PLAN_FORMAT, "description": "Version of this form."},
            "engine_version": {**_TEXT, "description": "Version of what wrote the plan."},
            "precision": {"enum": ["fp16", "bf16"], "description": "The low type of nodes that are lowered."},
            "structure_digest": {**_DIGEST, "description": "Of nodes, edges, operators and shapes, without weights."},
            "weights_digest": {**_DIGEST, "description": "Of the weights that the plan was made for."},
            "nodes": {"type": "array", "items": _node()},
            "settings": _settings(),
            "sanitize": {
                "type": "array",
                "items": {"type": "object"},
                "description": "Changes that led from the source to the graph the plan speaks of.",
            },
            "weights": {"type": "array", "items": _weight()},
            "io_kept": {"type": "array", "items": _TEXT, "description": "Graph inputs and outputs left in FP32."},
            "data": {"type": "object", "description": "What was measured, on which data, by what; attribution ranked."},
            "warnings": {"type": "array", "items": _TEXT},
        },
    }


def _node() -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["id", "op_type", "precision", "rule"],
        "additionalProperties": False,
        "properties": {
            "id": {**_TEXT, "description": "graph/NAME, or graph/If_3:then_branch/NAME in a body."},
            "op_type": _TEXT,
            "domain": {**_TEXT, "description": "Default: ONNX's own."},
            "precision": {"enum": [str(each) for each in Precision], "description": "none: without a float tensor."},
            "rule": {**_TEXT, "description": "The rule that decided; default where none kept the node in FP32."},
            "reason": _TEXT,
            "evidence": {
                "type": "array",
                "items": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {
                        **{key: {"type": ["string", "null"]} for key in ("tensor", "detail")},
                        **dict.fromkeys(("min", "max", "absmax", "limit"), _NUMBER),
                    },
                },
            },
            "replaces": {"type": "array", "items": _TEXT, "description": "Names of the nodes it was fused from."},
        },
    }


def _settings() -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            "keep_io_types": {"type": ["boolean", "array"], "items": _TEXT},
            "init_conversion_max_bytes": {"type": ["integer", "null"], "minimum": 0},
        },
    }


def _weight() -> dict[str, Any]:
    count = {"type": "integer", "minimum": 0}
    return {
        "type": "object",
        "required": ["tensor"],
        "additionalProperties": False,
        "description": "An initializer whose values do not all survive the low type, in elements.",
        "properties": {"tensor": _TEXT, "clamped": count, "underflowed": count},
    }
