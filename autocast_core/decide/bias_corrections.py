"""Corrections of biases: what the rounding of a weight takes from the mean result of its product, put back.

A product with a rounded weight W̃ is wrong by (W̃ - W)·x. The part that every x has in common is (W̃ - W)·E[x], which the
bias of the product takes back at no cost (Nagel et al., Data-Free Quantization Through Weight Equalization and Bias
Correction, 2019, section 4.2; with E[x] measured, Finkelstein et al., Fighting Quantization Bias With Bias, 2019). How
much that is goes by the share of E[x]² in E[x²]: most of it behind attention, much behind ReLU and GELU, nothing where
x is centred.

Does not touch products without a bias, in bodies, or with a weight that a node makes. A Conv is corrected as if nothing
were padded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from autocast_core.config import Precision
from autocast_core.graph.constants import constant_tensor
from autocast_core.graph.walk import nodes_with_ids
from autocast_core.model import ConvertedTensor
from autocast_core.operators import element_type
from autocast_core.operators.biases import WEIGHT, bias_of, has_transposed_weight
from autocast_core.plan import BiasCorrection, PrecisionPlan


@dataclass(frozen=True)
class LowProduct:
    """A product with a bias that the plan has in 16 bits, with its id."""

    id: str
    node: ir.Node
    precision: Precision


def low_products(model: ir.Model, plan: PrecisionPlan) -> tuple[LowProduct, ...]:
    """The products of the main graph whose bias can be corrected, in graph order."""
    decided = plan.by_id()
    return tuple(
        LowProduct(node_id, node, decided[node_id].precision)
        for node_id, node in nodes_with_ids(model.graph)
        if node_id in decided
        and decided[node_id].precision.is_low
        and node.graph is model.graph
        and element_type(node.inputs[0]) == ir.DataType.FLOAT
        and bias_of(node) is not None
    )


def bias_corrections(
    products: tuple[LowProduct, ...], means: Mapping[ir.Node, NDArray[np.float64]]
) -> Iterator[BiasCorrection]:
    """The corrections of `products`, whose operands have these `means` [channels], where they are finite; each weight
    is read once."""
    for product in products:
        weight = constant_tensor(product.node.inputs[WEIGHT])
        assert weight is not None
        exact = weight.numpy()
        lost = exact - ConvertedTensor(weight, product.precision.dtype).numpy().astype(np.float32)
        correction = _mean_loss(product.node, lost, means[product.node])
        if correction.any() and np.isfinite(correction).all():
            yield BiasCorrection(product.id, product.precision, correction.astype("<f4").tobytes())


def _mean_loss(node: ir.Node, lost: NDArray[np.float32], means: NDArray[np.float64]) -> NDArray[np.float64]:
    """What the product loses on average, [channels], by what its weight lost."""
    if node.op_type == "Conv":
        groups = node.attributes.get_int("group", 1)
        parts = lost.reshape(groups, lost.shape[0] // groups, lost.shape[1], -1).sum(axis=-1)
        return np.asarray(parts @ means.reshape(groups, -1, 1)).reshape(-1)
    return np.asarray(lost @ means if has_transposed_weight(node) else means @ lost)
