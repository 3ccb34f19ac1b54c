"""Reads what TensorRT's engine inspector says of an engine (its JSON, detailed verbosity) into the form of a build log.

A layer is an object with ``Name``, ``LayerType``, ``Inputs``, ``Constants``, ``Outputs`` (tensors with ``Dimensions``
and either ``Datatype`` or TensorRT 10's ``Format/Datatype``), ``StreamId`` and ``Metadata``; TensorRT 10 gives weights
as ``Weights`` and ``Bias`` with ``Type`` and ``Count``. What a layer lacks stays unknown: a tensor without dimensions
has no size, an element type of another name none either. Written from the documentation and from the form of the build
log, whose keys are the same; it has not been run on a GPU.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from autocast_core.engine.build_log import TYPES, nodes_in
from autocast_core.engine.kernels import EngineDescription, Tensor, is_event, kernel_of
from autocast_core.engine.view import Kernel

_REFORMATS = re.compile(r"^Reformatting CopyNode for (?:Input|Output) Tensor \d+ to (.+)$")
"""The name of a copy that TensorRT put before or behind a node: it is no part of that node."""
_WORDS = {
    **TYPES,
    r"fp32|float32": "float",
    r"fp16|float16": "float16",
    r"bf16": "bfloat16",
    r"fp8|float8": "float8e4m3fn",
    r"fp4|float4": "float4e2m1",
}
"""Patterns of words for element types in ``Format/Datatype``: the names of the build log, and others."""
_UNKNOWN = (-1,)


def read(text: str) -> EngineDescription:
    """The kernels of the engine that the inspector's JSON describes, in order."""
    try:
        found = json.loads(text)
    except ValueError:
        return EngineDescription(problem="the engine inspector wrote invalid JSON")
    layers = found.get("Layers") if isinstance(found, Mapping) else None
    if not isinstance(layers, list) or not all(isinstance(each, Mapping) for each in layers):
        return EngineDescription(problem="the engine inspector tells no more than names of layers")
    return EngineDescription(tuple(_kernel(each) for each in layers if not is_event(str(each.get("LayerType", "")))))


def _kernel(layer: Mapping[str, Any]) -> Kernel:
    name = str(layer.get("Name", ""))
    stream = layer.get("StreamId")
    return kernel_of(
        name,
        str(layer.get("LayerType", "")),
        () if _REFORMATS.match(name) else nodes_in(str(layer.get("Metadata", ""))),
        [*_tensors(layer.get("Inputs"))],
        [*_tensors(layer.get("Constants")), *_weights(layer)],
        [*_tensors(layer.get("Outputs"))],
        stream if isinstance(stream, int) else 0,
    )


def _tensors(listed: Any) -> Iterator[Tensor]:
    for each in listed if isinstance(listed, list) else ():
        tensor = each if isinstance(each, Mapping) else {}
        shape = tensor.get("Dimensions")
        sizes = tuple(shape) if isinstance(shape, list) and all(isinstance(size, int) for size in shape) else _UNKNOWN
        words = str(tensor.get("Datatype") or tensor.get("Format/Datatype") or "")
        yield Tensor(sizes, _type(words))


def _weights(layer: Mapping[str, Any]) -> Iterator[Tensor]:
    for key in ("Weights", "Bias"):
        found = layer.get(key)
        if isinstance(found, Mapping) and isinstance(found.get("Count"), int) and found["Count"] > 0:
            yield Tensor((found["Count"],), _type(str(found.get("Type", ""))))


def _type(words: str) -> str:
    """ONNX's name of the element type that the words name, else the words."""
    return next((type_ for name, type_ in _WORDS.items() if re.search(rf"\b(?:{name})\b", words, re.IGNORECASE)), words)
