"""Kernels from what an engine lists of them: bytes and operations follow from the tensors' shapes and types."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import permutations
from math import prod

from autocast_core.engine.view import Kernel

_BITS = {
    "float": 32,
    "float16": 16,
    "bfloat16": 16,
    "float8e4m3fn": 8,
    "float4e2m1": 4,
    "int64": 64,
    "int32": 32,
    "int8": 8,
    "uint8": 8,
    "int4": 4,
    "bool": 8,
}
"""The width of the element types that engines have, by ONNX's names."""
_EVENTS = frozenset({"signal", "wait", "jmp", "cjmp", "NoOp"})
"""Kinds that order kernels of streams and loops, or do nothing, and are no kernels themselves."""
_GENERATED = re.compile(r"__myl_((?:[A-Z][a-z0-9]*)+)_myl\d+_\d+")
_MOVES = frozenset({"Move", "Resh", "Cast", "Tran", "Slic", "Conc", "Repl", "Reve", "Expa", "Sque", "Pad"})
"""Operations in the name of a generated kernel that compute nothing."""
_MOVING_KINDS = frozenset({"copy", "memset", "reformat"})
_CONVOLUTIONS = frozenset({"correlation", "deconv"})
_ATTENTION = "_gemm_mha"
"""How the name of a kernel begins that computes a whole attention core."""
_LOW_FLOATS = frozenset({"float16", "bfloat16", "float8e4m3fn"})

_Shape = tuple[int, ...]


@dataclass(frozen=True)
class Tensor:
    """A tensor of a kernel: its shape, -1 for a size that only the run decides, and its element type by ONNX's name."""

    shape: _Shape
    type: str

    @property
    def size(self) -> int | None:
        """Bytes; None where a dimension is known at run time only, or the type is not known."""
        bits = _BITS.get(self.type)
        return None if bits is None or min(self.shape, default=0) < 0 else -(-prod(self.shape) * bits // 8)


@dataclass(frozen=True)
class EngineDescription:
    """What an engine, or the log of its build, says of it: the kernels, with the *names* of ONNX nodes for ids; the
    names of the nodes of attention patterns; and why there are no kernels, where it cannot be read."""

    kernels: tuple[Kernel, ...] = ()
    attention: tuple[str, ...] = ()
    problem: str | None = None


@dataclass(frozen=True)
class _Product:
    """The operations of a kernel's products and the wider element type of their operands; None, "" where unknown."""

    flops: int | None = None
    type: str = ""


def is_event(kind: str) -> bool:
    """Whether an entry of this kind is no kernel: it orders others, or does nothing."""
    return kind in _EVENTS


def kernel_of(
    name: str,
    kind: str,
    nodes: tuple[str, ...],
    inputs: Sequence[Tensor],
    constants: Sequence[Tensor],
    outputs: Sequence[Tensor],
    stream: int,
) -> Kernel:
    """The kernel that an engine lists with these tensors."""
    product = _product(kind, name, inputs, constants, outputs)
    return Kernel(
        name=name,
        kind=kind,
        nodes=nodes,
        reads=tuple(each.type for each in (*inputs, *constants)),
        writes=tuple(each.type for each in outputs),
        read_bytes=_bytes((*inputs, *constants)),
        written_bytes=_bytes(outputs),
        flops=product.flops,
        operand_type=product.type,
        stream=stream,
        only_moves=_only_moves(name, kind),
        fused_attention=name.startswith(_ATTENTION),
    )


def _bytes(tensors: Iterable[Tensor]) -> int | None:
    sizes = [each.size for each in tensors]
    return None if None in sizes else sum(size for size in sizes if size is not None)


def _only_moves(name: str, kind: str) -> bool:
    operations = _operations(name)
    return operations <= _MOVES if operations else kind.lower() in _MOVING_KINDS


def _operations(name: str) -> frozenset[str]:
    """The operations that the name of a generated kernel lists, by TensorRT's short names; none of another's name."""
    generated = _GENERATED.fullmatch(name)
    return frozenset(re.findall(r"[A-Z][a-z0-9]*", generated.group(1))) if generated else frozenset()


def _product(
    kind: str, name: str, inputs: Sequence[Tensor], constants: Sequence[Tensor], outputs: Sequence[Tensor]
) -> _Product:
    """What a kernel of matrix products or convolutions computes."""
    if len(outputs) != 1 or any(each.size is None for each in (*inputs, *constants, *outputs)):
        return _Product()
    operations = _operations(name)
    out = outputs[0].shape
    if name.startswith(_ATTENTION):
        return _attention([each for each in inputs if each.type in _LOW_FLOATS], out)
    if kind in _CONVOLUTIONS or "Corr" in operations:
        return _convolution(inputs, constants, out, transposed=kind == "deconv")
    if kind == "gemm" or "Fc" in operations:
        return _matrix_product([each for each in (*inputs, *constants) if len(each.shape) >= 2], out)
    return _Product()


def _wider(*tensors: Tensor) -> str:
    return max((each.type for each in tensors), key=lambda type_: _BITS[type_])


def _convolution(inputs: Sequence[Tensor], constants: Sequence[Tensor], out: _Shape, *, transposed: bool) -> _Product:
    """Weights are [M, C/groups, …] of a convolution that writes [N, M, …], [C, M/groups, …] of a transposed one."""
    if not inputs or len(out) < 3 or len(inputs[0].shape) != len(out):
        return _Product()
    positions = inputs[0].shape if transposed else out
    fitting = [each for each in constants if len(each.shape) == len(out) and each.shape[0] == positions[1]]
    if not fitting:
        return _Product()
    weights = max(fitting, key=lambda each: prod(each.shape))
    return _Product(2 * prod(positions) * prod(weights.shape[1:]), _wider(inputs[0], weights))


def _matrix_product(matrices: Sequence[Tensor], out: _Shape) -> _Product:
    """Of [m, k] and [k, n], each perhaps in a batch, that give [m, n]."""
    for left, right in permutations(matrices, 2):
        rows, inner = left.shape[-2:]
        if inner == right.shape[-2] and out[-2:] == (rows, right.shape[-1]):
            return _Product(2 * prod(out) * inner, _wider(left, right))
    return _Product()


def _attention(operands: Sequence[Tensor], out: _Shape) -> _Product:
    """Of both products of attention: [s, d] by [d, t] by [t, e], each for a batch and its heads, gives [s, e]."""
    batched = [each for each in operands if len(each.shape) >= 3]
    matrices = [each for each in batched if prod(each.shape[:-2]) > 1]
    for query, key, value in permutations(matrices if len(matrices) >= 3 else batched, 3):
        (rows, depth), (inner, keys), (values, columns) = (each.shape[-2:] for each in (query, key, value))
        if depth == inner and keys == values and out[-2:] == (rows, columns):
            return _Product(2 * prod(out[:-2]) * rows * keys * (depth + columns), _wider(query, key, value))
    return _Product()
