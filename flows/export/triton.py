"""The configuration of a model in a Triton model repository.

https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/user_guide/model_configuration.html
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from autocast_core.errors import UnconvertibleError
from autocast_core.report.card import PortRow

_TYPES: Mapping[str, str] = MappingProxyType(
    {
        "bool": "TYPE_BOOL",
        "uint8": "TYPE_UINT8",
        "uint16": "TYPE_UINT16",
        "uint32": "TYPE_UINT32",
        "uint64": "TYPE_UINT64",
        "int8": "TYPE_INT8",
        "int16": "TYPE_INT16",
        "int32": "TYPE_INT32",
        "int64": "TYPE_INT64",
        "float16": "TYPE_FP16",
        "float": "TYPE_FP32",
        "double": "TYPE_FP64",
        "bfloat16": "TYPE_BF16",
        "string": "TYPE_STRING",
    }
)
"""ONNX's names of element types, and the Datatypes of the page above."""


def config(name: str, ports: Sequence[PortRow], precision: str) -> str:
    """config.pbtxt of the ONNX model `name`, with every dimension explicit (`max_batch_size: 0`).

    UnconvertibleError where an input or output has a type or a rank that Triton cannot be told.
    """
    lines = [
        f"name: {json.dumps(name)}",
        'backend: "onnxruntime"',
        "# The model's first dimensions are what they are: Triton adds no batch dimension.",
        "max_batch_size: 0",
        *_ports("input", ports),
        *_ports("output", ports),
        f'parameters {{ key: "autocast.precision" value {{ string_value: {json.dumps(precision)} }} }}',
    ]
    return "\n".join(lines) + "\n"


def _ports(role: str, ports: Sequence[PortRow]) -> Iterator[str]:
    for _, name, kind, shape in (port for port in ports if port[0] == role):
        if kind not in _TYPES or shape == "unknown":
            raise UnconvertibleError(
                f"{role} {name!r} of type {kind} and shape {shape} has no form in Triton: export it as folder or oci"
            )
        # A scalar has one element there.
        dims = ["1"] if shape == "scalar" else [part if part.isdigit() else "-1" for part in shape.split(" × ")]
        reshape = " reshape { shape: [ ] }" if shape == "scalar" else ""
        described = f"name: {json.dumps(name)} data_type: {_TYPES[kind]} dims: [ {', '.join(dims)} ]{reshape}"
        yield f"{role} [ {{ {described} }} ]"
