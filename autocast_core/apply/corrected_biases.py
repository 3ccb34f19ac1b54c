"""Biases that make up for what the rounding of weights takes from the mean results of products."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
from msgspec import UNSET
from numpy.typing import NDArray

from autocast_core.apply.literals import store
from autocast_core.config import Precision
from autocast_core.errors import PlanError
from autocast_core.graph.constants import constant_tensor
from autocast_core.graph.names import UnusedNames
from autocast_core.operators.biases import bias_of
from autocast_core.plan import BiasCorrection, PrecisionPlan


def correct_biases(
    model: ir.Model,
    plan: PrecisionPlan,
    by_id: Mapping[str, ir.Node],
    decided: Mapping[str, Precision],
    names: UnusedNames,
) -> None:
    """Add the plan's corrections to the biases of those products that are of the type that they were made for.

    A bias that others read too stays as it is for them. PlanError for a correction of a bias that the model lacks, or
    of another size.
    """
    for each in () if plan.biases is UNSET else plan.biases.corrections:
        node = by_id.get(each.product)
        bias = None if node is None else bias_of(node)
        if bias is None:
            raise PlanError(
                f"the plan corrects the bias of {each.product}, which has none here: make a plan for this model"
            )
        if decided.get(each.product) is not each.precision:
            continue
        value = bias.value()
        found = _corrected(value, each)
        if len(value.uses()) > 1 or value.is_graph_output():
            bias.reader.replace_input_with(bias.position, _beside(value, found, names))
        else:
            store(value, found)


def _corrected(bias: ir.Value, correction: BiasCorrection) -> ir.Tensor[NDArray[np.float32]]:
    tensor = constant_tensor(bias)
    assert tensor is not None
    values = np.frombuffer(correction.values, "<f4") if len(correction.values) == tensor.nbytes else np.array([np.nan])
    if not np.isfinite(values).all():
        raise PlanError(
            f"the plan's correction of the bias of {correction.product} is not {tensor.size} numbers: make a new plan"
        )
    return ir.Tensor(tensor.numpy() + values.reshape(tensor.shape.numpy()), name=bias.name)


def _beside(bias: ir.Value, tensor: ir.Tensor[NDArray[np.float32]], names: UnusedNames) -> ir.Value:
    tensor.name = names.fresh(f"{bias.name}_corrected")
    value = ir.Value(name=tensor.name, shape=tensor.shape, type=ir.TensorType(tensor.dtype), const_value=tensor)
    producer = bias.producer()
    graph = bias.graph if producer is None else producer.graph
    assert isinstance(graph, ir.Graph)
    graph.register_initializer(value)
    return value
