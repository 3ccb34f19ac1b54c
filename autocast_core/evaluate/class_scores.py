"""Which outputs of a model hold scores of classes, so that agreement and divergence mean something.

Not every matrix is one: embeddings and boxes have as many dimensions. An output counts where something says so: the
user, its name, or what computes it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType

import onnx_ir as ir

from autocast_core.errors import ConfigError
from autocast_core.graph.constants import constant_tensor

_CALLED = re.compile(r"(logits|probs|probabilities)$", re.IGNORECASE)
_CALLED_OTHERWISE = re.compile(r"embed|box|coord|feat|hidden|state|pool|point", re.IGNORECASE)
"""What outputs of a linear layer are called where its columns are no classes."""
_PASSED = frozenset({"Identity", "Cast", "Dropout"})
_DISTRIBUTIONS: Mapping[str, int] = MappingProxyType({"Softmax": 3, "LogSoftmax": 3})
"""Operators whose rows are distributions, and the largest rank at which they are of classes: the probabilities of
attention have four dimensions."""


def is_called_class_scores(name: str) -> bool:
    """Whether the output's name says that it holds scores of classes: it ends in ``logits``, ``probs`` or
    ``probabilities``."""
    return _CALLED.search(name) is not None


def is_called_logits(name: str) -> bool:
    """Whether the output's name ends in ``logits``."""
    return name.endswith("logits")


def class_score_outputs(model: ir.Model, named: Collection[str] = ()) -> frozenset[str]:
    """The outputs of `model` that hold scores of classes in their last dimension.

    Those `named`, where the user named any. Else those whose name says so; those that Softmax or LogSoftmax over the
    last axis gives, of at most three dimensions; and those of shape [samples, classes] that a linear layer gives (Gemm
    or MatMul with a constant, with or without a constant added), unless their name says that they are something else.

    ConfigError where an output that is `named` does not exist.
    """
    outputs = {str(value.name): value for value in model.graph.outputs}
    unknown = sorted(set(named) - outputs.keys())
    if unknown:
        raise ConfigError(f"class_outputs: no output {unknown[0]!r}; the outputs are {', '.join(outputs)}")
    if named:
        return frozenset(named)
    return frozenset(name for name, value in outputs.items() if is_called_class_scores(name) or _is_computed(value))


def called_class_scores(names: Iterable[str]) -> frozenset[str]:
    """Those of `names` that say of themselves that they hold scores of classes; for outputs without a graph."""
    return frozenset(name for name in names if is_called_class_scores(name))


def _is_computed(output: ir.Value) -> bool:
    rank = len(output.shape) if output.shape is not None else None
    node = _maker(output)
    if node is None or rank is None:
        return False
    if node.op_type in _DISTRIBUTIONS:
        axis = node.attributes.get("axis")
        # Without the attribute the axis is 1 up to opset 12, and the last from 13 on; they differ from rank 3 on.
        last = rank == 2 if axis is None else axis.as_int() in (-1, rank - 1)
        return last and 2 <= rank <= _DISTRIBUTIONS[node.op_type]
    return rank == 2 and _is_linear(node) and _CALLED_OTHERWISE.search(str(output.name)) is None


def _maker(value: ir.Value | None) -> ir.Node | None:
    """What computes the elements of `value`, behind operators that pass them on; None for other domains."""
    node = value.producer() if value is not None else None
    while node is not None and node.domain == "" and node.op_type in _PASSED and node.inputs[0] is not None:
        node = node.inputs[0].producer()
    return node if node is not None and node.domain == "" else None


def _is_linear(node: ir.Node) -> bool:
    if node.op_type == "Add":
        made = [value for value in node.inputs if constant_tensor(value) is None]
        inner = _maker(made[0]) if len(made) == 1 else None
        return inner is not None and inner.op_type == "MatMul" and _is_linear(inner)
    return node.op_type in ("Gemm", "MatMul") and constant_tensor(node.inputs[1]) is not None
