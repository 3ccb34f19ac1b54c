"""Element types of values, whatever holds them: tensors, sparse tensors, sequences and optionals."""

from __future__ import annotations

import onnx_ir as ir

NAMES = {
    ir.DataType.FLOAT: "float",
    ir.DataType.FLOAT16: "float16",
    ir.DataType.BFLOAT16: "bfloat16",
    ir.DataType.DOUBLE: "double",
    ir.DataType.BOOL: "bool",
    ir.DataType.STRING: "string",
    ir.DataType.INT8: "int8",
    ir.DataType.INT16: "int16",
    ir.DataType.INT32: "int32",
    ir.DataType.INT64: "int64",
    ir.DataType.UINT8: "uint8",
    ir.DataType.UINT16: "uint16",
    ir.DataType.UINT32: "uint32",
    ir.DataType.UINT64: "uint64",
    ir.DataType.COMPLEX64: "complex64",
    ir.DataType.COMPLEX128: "complex128",
}
_DTYPES = {name: dtype for dtype, name in NAMES.items()}


def element_type(value: ir.Value | None) -> ir.DataType | None:
    """The element type of a value, at whatever depth; None for an omitted operand or an unknown type."""
    if value is None or value.type is None:
        return None
    return value.type.dtype


def is_tensor(value: ir.Value) -> bool:
    """Whether the value is a dense tensor, the only kind that a Cast takes."""
    return isinstance(value.type, ir.TensorType)


def with_element_type(kind: ir.TypeProtocol, dtype: ir.DataType) -> ir.TypeProtocol:
    """The same kind of value holding `dtype`; `kind` itself is not changed."""
    if type(kind) is ir.TensorType:  # nearly always, and asking a protocol's class is slow
        return ir.TensorType(dtype, denotation=kind.denotation)
    if isinstance(kind, ir.SequenceType | ir.OptionalType):
        return type(kind)(with_element_type(kind.elem_type, dtype), denotation=kind.denotation)
    return type(kind)(dtype, denotation=kind.denotation)  # type: ignore[call-arg]


def type_string(kind: ir.TypeProtocol, dtype: ir.DataType | None = None) -> str:
    """How operator schemas write the type, holding `dtype` instead of its own where given."""
    if isinstance(kind, ir.SequenceType):
        return f"seq({type_string(kind.elem_type, dtype)})"
    if isinstance(kind, ir.OptionalType):
        return f"optional({type_string(kind.elem_type, dtype)})"
    name = NAMES.get(dtype if dtype is not None else kind.dtype, str(kind.dtype).lower())
    return f"sparse_tensor({name})" if isinstance(kind, ir.SparseTensorType) else f"tensor({name})"


def parse_type(text: str) -> ir.TypeProtocol | None:
    """The type that a schema writes as `text`, None for one that onnx_ir does not hold (maps)."""
    kind, _, rest = text.partition("(")
    inner = rest[:-1]
    if kind == "tensor" and inner in _DTYPES:
        return ir.TensorType(_DTYPES[inner])
    if kind in ("seq", "optional"):
        element = parse_type(inner)
        if element is not None:
            return ir.SequenceType(element) if kind == "seq" else ir.OptionalType(element)
    return None
