"""Reads the detailed build log of TensorRT for RTX: one message lists the kernels of the finished engine.

With ``ProfilingVerbosity.DETAILED`` the builder ends its log with a verbose message that begins ``Layers:`` and has one
line a kernel, in the engine inspector's one-line form (seen in 1.7):

    Name: N, LayerType: kgen, Inputs: [ { Name: T, Dimensions: [12,64], …, Datatype: Half, … }, …], Constants: [ …],
    Outputs: [ …], TacticName: T, StreamId: 0, Metadata: [ONNX Layer: A][ONNX Layer: B]

Further messages name the members of attention patterns, fused or not. Kinds of kernels may be any; a line or an element
type of an unknown form makes the whole log unreadable, since sums over a part would mislead.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from autocast_core.engine.kernels import EngineDescription, Tensor, is_event, kernel_of
from autocast_core.engine.view import Kernel

_KERNELS = "Layers:"
_MEMBER = re.compile(r"Found (.+) to be part of self-attention pattern\.?")
_RECORD = re.compile(
    r"Name: (?P<name>.*?), LayerType: (?P<kind>.*?), Inputs: \[(?P<inputs>.*?)\], Constants: \[(?P<constants>.*?)\], "
    r"Outputs: \[(?P<outputs>.*?)\], TacticName: .*?, StreamId: (?P<stream>-?\d+)\b.*?, Metadata:(?P<metadata>.*)",
)
_TENSOR = re.compile(r"\{ Name: .*?, Dimensions: \[(?P<shape>[-\d,]*)\], .*?Datatype: (?P<type>\w+)[,} ]")
_NODE = "[ONNX Layer: "
TYPES = {
    "Float": "float",
    "Half": "float16",
    "BFloat16": "bfloat16",
    "FP8": "float8e4m3fn",
    "FP4": "float4e2m1",
    "Int64": "int64",
    "Int32": "int32",
    "Int8": "int8",
    "UInt8": "uint8",
    "Int4": "int4",
    "Bool": "bool",
}
"""ONNX's names of TensorRT's element types."""
_LONGEST_QUOTE = 120


def is_needed(message: str) -> bool:
    """Whether `read` makes use of this message of the builder's logger."""
    return message.startswith(_KERNELS) or (message.startswith("Found ") and _MEMBER.match(message) is not None)


def read(messages: Iterable[str]) -> EngineDescription:
    """The kernels of the engine whose build these messages come from, in order; others among them are ignored."""
    kernels: list[Kernel] = []
    attention: list[str] = []
    found = False
    for message in messages:
        member = _MEMBER.match(message)
        if member:
            attention.append(member.group(1))
        elif message.startswith(_KERNELS):
            found = True
            lines = _records(message)
            if lines is None:
                return EngineDescription(problem="the build log ends within its list of kernels")
            for line in lines:
                kernel = _kernel(line)
                if isinstance(kernel, str):
                    return EngineDescription(problem=kernel)
                if not is_event(kernel.kind):
                    kernels.append(kernel)
    if not found:
        return EngineDescription(problem="the build log lists no kernels")
    return EngineDescription(tuple(kernels), tuple(dict.fromkeys(attention)))


def _records(message: str) -> list[str] | None:
    """The lines of the list of kernels, up to an empty one or the list of the engine's inputs and outputs; None where
    neither follows, as the message was cut off.

    Lines end with a line feed only: TensorRT writes other separators into them, which splitlines would split at.
    """
    found = list[str]()
    for line in message.removeprefix(_KERNELS).lstrip("\n").split("\n"):
        if not line.strip() or line.startswith(("I/O Tensors", "Bindings")):
            return found
        found.append(line)
    return None


def _kernel(line: str) -> Kernel | str:
    """The kernel that a line describes, or why it cannot be read."""
    record = _RECORD.fullmatch(line)
    if record is None:
        return f"the build log describes a kernel in an unknown form: {line[:_LONGEST_QUOTE]}"
    sides = []
    for text in record.group("inputs", "constants", "outputs"):
        tensors = [_tensor(each) for each in _TENSOR.finditer(text)]
        if len(tensors) != text.count("{ Name: "):
            return f"the build log describes a tensor in an unknown form: {text[:_LONGEST_QUOTE]}"
        unknown = next((each for each in tensors if isinstance(each, str)), None)
        if unknown is not None:
            return f"the build log has the unknown element type {unknown}"
        sides.append([each for each in tensors if isinstance(each, Tensor)])
    name, kind = record.group("name", "kind")
    inputs, constants, outputs = sides
    return kernel_of(
        name, kind, nodes_in(record.group("metadata")), inputs, constants, outputs, int(record.group("stream"))
    )


def _tensor(found: re.Match[str]) -> Tensor | str:
    """The tensor, or the name of an element type that is not known."""
    name = found.group("type")
    if name not in TYPES:
        return name
    shape = tuple(int(size) for size in found.group("shape").split(",") if size)
    return Tensor(shape, TYPES[name])


def nodes_in(metadata: str) -> tuple[str, ...]:
    """The ONNX nodes in a kernel's metadata, once each.

    A name may hold brackets; control characters part the entries, and a suffix may follow the last bracket
    (``__gemm_from_conv1x1``). A node of a body stands as ``NAME | sub_graph1 (then_branch) | IF (If)``.
    """
    parts = (part.rpartition("]")[0] for part in metadata.split(_NODE)[1:])
    return tuple(dict.fromkeys(part.split(" | ")[0] for part in parts))
