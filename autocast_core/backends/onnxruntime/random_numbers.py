"""Random operators that draw the same numbers in every session.

Without a seed ONNX Runtime draws other numbers in each session, and the difference of two models would be that of their
noise. So the n-th random operator of a model without a seed has the seed n, in the model and in whatever is made of it.
Those of model-local functions are left as they are, since all calls of one share its nodes.
"""

from __future__ import annotations

import onnx
import onnx_ir as ir

from autocast_core.graph.walk import all_nodes
from autocast_core.model.protobuf.proto_nodes import proto_nodes

RANDOM_OPERATORS = frozenset(
    {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)


def draws_without_seed(model: ir.Model) -> bool:
    """Whether the main graph or a body has a random operator without a seed."""
    return any(
        node.op_type in RANDOM_OPERATORS and not node.domain and "seed" not in node.attributes
        for node in all_nodes(model.graph)
    )


def seeded(model: ir.Model) -> ir.Model:
    """`model`, or a copy of it with the seeds that `with_seeds` gives, so that its parts draw what it draws."""
    if not draws_without_seed(model):
        return model
    copy = model.clone()
    random = (node for node in all_nodes(copy.graph) if node.op_type in RANDOM_OPERATORS and not node.domain)
    for number, node in enumerate(random, 1):
        if "seed" not in node.attributes:
            node.attributes["seed"] = ir.AttrFloat32("seed", float(number))
    return copy


def with_seeds(model: bytes) -> bytes:
    """The serialised model with a seed at each random operator of the main graph and of its bodies."""
    proto = onnx.ModelProto.FromString(model)
    nodes = proto_nodes(proto.graph.node)
    random = (node for node in nodes if node.op_type in RANDOM_OPERATORS and node.domain in ("", "ai.onnx"))
    for number, node in enumerate(random, 1):
        if all(attribute.name != "seed" for attribute in node.attribute):
            node.attribute.append(onnx.helper.make_attribute("seed", float(number)))
    content: bytes = proto.SerializeToString()
    return content
