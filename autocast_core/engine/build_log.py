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
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations
from math import prod

from autocast_core.engine.view import Kernel

_KERNELS = "Layers:"
_MEMBER = re.compile(r"Found (.+) to be part of self-attention pattern\.?")
_RECORD = re.compile(
    r"Name: (?P<name>.*?), LayerType: (?P<kind>.*?), Inputs: \[(?P<inputs>.*?)\], Constants: \[(?P<constants>.*?)\], "
    r"Outputs: \[(?P<outputs>.*?)\], TacticName: .*?, StreamId: (?P<stream>-?\d+)\b.*?, Metadata:(?P<metadata>.*)",
)
_TENSOR = re.compile(r"\{ Name: .*?, Dimensions: \[(?P<shape>[-\d,]*)\], .*?Datatype: (?P<type>\w+)[,} ]")
_NODE = "[ONNX Layer: "
_BITS = {
    "Float": ("float", 32),
    "Half": ("float16", 16),
    "BFloat16": ("bfloat16", 16),
    "FP8": ("float8e4m3fn", 8),
    "FP4": ("float4e2m1", 4),
    "Int64": ("int64", 64),
    "Int32": ("int32", 32),
    "Int8": ("int8", 8),
    "UInt8": ("uint8", 8),
    "Int4": ("int4", 4),
    "Bool": ("bool", 8),
}
"""TensorRT's element types: ONNX's name and the width."""
_EVENTS = frozenset({"signal", "wait", "jmp", "cjmp"})
"""Kinds that order kernels of streams and loops and are none themselves."""
_GENERATED = re.compile(r"__myl_((?:[A-Z][a-z0-9]*)+)_myl\d+_\d+")
_MOVES = frozenset({"Move", "Resh", "Cast", "Tran", "Slic", "Conc", "Repl", "Reve", "Expa", "Sque", "Pad"})
"""Operations in the name of a generated kernel that compute nothing."""
_MOVING_KINDS = frozenset({"copy", "memset", "reformat"})
_CONVOLUTIONS = frozenset({"correlation", "deconv"})
_ATTENTION = "_gemm_mha"
"""How the name of a kernel begins that computes a whole attention core."""
_LOW_FLOATS = frozenset({"float16", "bfloat16", "float8e4m3fn"})
_LONGEST_QUOTE = 120

_Shape = tuple[int, ...]


@dataclass(frozen=True)
class BuildLog:
    """What a build log says: the kernels, with the *names* of ONNX nodes for ids; the names of the nodes of attention
    patterns; and why there are no kernels, where it cannot be read."""

    kernels: tuple[Kernel, ...] = ()
    attention: tuple[str, ...] = ()
    problem: str | None = None


@dataclass(frozen=True)
class _Tensor:
    shape: _Shape
    type: str
    bits: int

    @property
    def size(self) -> int | None:
        """Bytes; None where a dimension is known at run time only."""
        return None if min(self.shape, default=0) < 0 else -(-prod(self.shape) * self.bits // 8)


def is_needed(message: str) -> bool:
    """Whether `read` makes use of this message of the builder's logger."""
    return message.startswith(_KERNELS) or (message.startswith("Found ") and _MEMBER.match(message) is not None)


def read(messages: Iterable[str]) -> BuildLog:
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
            for line in _records(message):
                kernel = _kernel(line)
                if isinstance(kernel, str):
                    return BuildLog(problem=kernel)
                if kernel.kind not in _EVENTS:
                    kernels.append(kernel)
    if not found:
        return BuildLog(problem="the build log lists no kernels")
    return BuildLog(tuple(kernels), tuple(dict.fromkeys(attention)))


def _records(message: str) -> Iterator[str]:
    """The lines of the list of kernels, up to an empty one or the list of the engine's inputs and outputs.

    Lines end with a line feed only: TensorRT writes other separators into them, which splitlines would split at.
    """
    for line in message.removeprefix(_KERNELS).lstrip("\n").split("\n"):
        if not line.strip() or line.startswith(("I/O Tensors", "Bindings")):
            return
        yield line


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
        sides.append([each for each in tensors if isinstance(each, _Tensor)])
    name, kind = record.group("name", "kind")
    inputs, constants, outputs = sides
    return Kernel(
        name=name,
        kind=kind,
        nodes=_nodes(record.group("metadata")),
        reads=tuple(each.type for each in (*inputs, *constants)),
        writes=tuple(each.type for each in outputs),
        read_bytes=_bytes((*inputs, *constants)),
        written_bytes=_bytes(outputs),
        flops=_flops(kind, name, inputs, constants, outputs),
        stream=int(record.group("stream")),
        only_moves=_only_moves(name, kind),
        fused_attention=name.startswith(_ATTENTION),
    )


def _tensor(found: re.Match[str]) -> _Tensor | str:
    """The tensor, or the name of an element type that is not known."""
    name = found.group("type")
    if name not in _BITS:
        return name
    shape = tuple(int(size) for size in found.group("shape").split(",") if size)
    return _Tensor(shape, *_BITS[name])


def _nodes(metadata: str) -> tuple[str, ...]:
    """The ONNX nodes in a kernel's metadata, once each.

    A name may hold brackets; control characters part the entries, and a suffix may follow the last bracket
    (``__gemm_from_conv1x1``). A node of a body stands as ``NAME | sub_graph1 (then_branch) | IF (If)``.
    """
    parts = (part.rpartition("]")[0] for part in metadata.split(_NODE)[1:])
    return tuple(dict.fromkeys(part.split(" | ")[0] for part in parts))


def _bytes(tensors: Iterable[_Tensor]) -> int | None:
    sizes = [each.size for each in tensors]
    return None if None in sizes else sum(size for size in sizes if size is not None)


def _only_moves(name: str, kind: str) -> bool:
    operations = _operations(name)
    return operations <= _MOVES if operations else kind.lower() in _MOVING_KINDS


def _operations(name: str) -> frozenset[str]:
    """The operations that the name of a generated kernel lists, by TensorRT's short names; none of another's name."""
    generated = _GENERATED.fullmatch(name)
    return frozenset(re.findall(r"[A-Z][a-z0-9]*", generated.group(1))) if generated else frozenset()


def _flops(
    kind: str, name: str, inputs: Sequence[_Tensor], constants: Sequence[_Tensor], outputs: Sequence[_Tensor]
) -> int | None:
    """Operations of what a kernel of matrix products or convolutions computes; None where shapes do not tell."""
    if len(outputs) != 1 or any(each.size is None for each in (*inputs, *constants, *outputs)):
        return None
    operations = _operations(name)
    out = outputs[0].shape
    if name.startswith(_ATTENTION):
        return _attention_flops([each.shape for each in inputs if each.type in _LOW_FLOATS], out)
    if kind in _CONVOLUTIONS or "Corr" in operations:
        return _convolution_flops(inputs, constants, out, transposed=kind == "deconv")
    if kind == "gemm" or "Fc" in operations:
        return _product_flops([each.shape for each in (*inputs, *constants) if len(each.shape) >= 2], out)
    return None


def _convolution_flops(
    inputs: Sequence[_Tensor], constants: Sequence[_Tensor], out: _Shape, *, transposed: bool
) -> int | None:
    """Weights are [M, C/groups, …] of a convolution that writes [N, M, …], [C, M/groups, …] of a transposed one."""
    if not inputs or len(out) < 3 or len(inputs[0].shape) != len(out):
        return None
    positions = inputs[0].shape if transposed else out
    weights = [each.shape for each in constants if len(each.shape) == len(out) and each.shape[0] == positions[1]]
    return 2 * prod(positions) * prod(max(weights, key=prod)[1:]) if weights else None


def _product_flops(matrices: Sequence[_Shape], out: _Shape) -> int | None:
    """Of [m, k] and [k, n], each perhaps in a batch, that give [m, n]."""
    for left, right in permutations(matrices, 2):
        if left[-1] == right[-2] and out[-2:] == (left[-2], right[-1]):
            return 2 * prod(out) * left[-1]
    return None


def _attention_flops(operands: Sequence[_Shape], out: _Shape) -> int | None:
    """Of both products of attention: [s, d] by [d, t] by [t, e], each for a batch and its heads, gives [s, e]."""
    matrices = [shape[-2:] for shape in operands if len(shape) >= 3 and prod(shape[:-2]) > 1]
    matrices = matrices if len(matrices) >= 3 else [shape[-2:] for shape in operands if len(shape) >= 3]
    for (rows, depth), (inner, keys), (values, columns) in permutations(matrices, 3):
        if depth == inner and keys == values and out[-2:] == (rows, columns):
            return 2 * prod(out[:-2]) * rows * keys * (depth + columns)
    return None
