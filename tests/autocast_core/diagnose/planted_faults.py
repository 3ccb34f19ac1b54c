"""Faults to plant: numeric ones, which a reference has and FP16 cannot hold, and those that a candidate has alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import onnx
import onnx.parser

from tests.autocast_core.diagnose.planted_bases import Base, named_nodes, with_weights


@dataclass(frozen=True)
class Fault:
    """Nodes that make `f_w` from `f_v`, with constants; `culprits` are the outputs of those that are to blame."""

    body: str
    constants: Mapping[str, float]
    culprits: tuple[str, ...]


NUMERIC: Mapping[str, Fault] = MappingProxyType(
    {
        "overflow": Fault(
            "f_a = Mul(f_v, f_k)\nf_b = Mul(f_a, f_k)\nf_c = Mul(f_b, f_i)\nf_w = Mul(f_c, f_i)",
            {"f_k": 1000.0, "f_i": 0.001},
            ("f_b",),
        ),
        "overflow_of_squares": Fault(
            "f_a = Mul(f_v, f_k)\nf_b = Mul(f_a, f_a)\nf_c = Sqrt(f_b)\nf_w = Div(f_c, f_k)",
            {"f_k": 400.0},
            ("f_b",),
        ),
        "overflow_swallowed_by_div": Fault(
            "f_a = Mul(f_v, f_k)\nf_b = Mul(f_a, f_a)\nf_c = Add(f_b, f_k)\nf_d = Div(f_a, f_c)\nf_e = Mul(f_d, f_k)\n"
            "f_w = Add(f_e, f_v)",
            {"f_k": 400.0},
            ("f_b",),
        ),
        "overflow_swallowed_by_rms": Fault(
            "f_a = Mul(f_v, f_k)\nf_b = Mul(f_a, f_a)\nf_c = ReduceMean <axes = [-1]> (f_b)\nf_d = Sqrt(f_c)\n"
            "f_w = Div(f_a, f_d)",
            {"f_k": 400.0},
            ("f_b", "f_c"),
        ),
        "underflow": Fault(
            "f_a = Mul(f_v, f_i)\nf_b = Mul(f_a, f_i)\nf_c = Mul(f_b, f_i)\nf_d = Mul(f_c, f_k)\nf_e = Mul(f_d, f_k)\n"
            "f_w = Mul(f_e, f_k)",
            {"f_k": 1000.0, "f_i": 0.001},
            ("f_b", "f_c"),
        ),
        "underflow_of_a_guard": Fault(
            "f_a = Abs(f_v)\nf_b = Neg(f_a)\nf_r = Relu(f_b)\nf_q = Add(f_r, f_e)\nf_d = Div(f_r, f_q)\n"
            "f_w = Add(f_d, f_v)",
            {"f_e": 1e-9},
            ("f_q",),
        ),
        "underflow_before_log": Fault(
            "f_a = Mul(f_v, f_k)\nf_p = Softmax <axis = -1> (f_a)\nf_l = Log(f_p)\nf_w = Div(f_l, f_k)",
            {"f_k": 12.0},
            ("f_p", "f_l"),
        ),
        "cancellation": Fault(
            "f_a = Add(f_v, f_k)\nf_w = Sub(f_a, f_k)",
            {"f_k": 1500.0},
            ("f_a", "f_w"),
        ),
        "cancellation_of_variance": Fault(
            "f_t = Add(f_v, f_k)\nf_b = Mul(f_t, f_t)\nf_c = ReduceMean <axes = [-1]> (f_b)\n"
            "f_m = ReduceMean <axes = [-1]> (f_t)\nf_n = Mul(f_m, f_m)\nf_s = Sub(f_c, f_n)\nf_z = Abs(f_s)\n"
            "f_x = Add(f_z, f_e)\nf_q = Sqrt(f_x)\nf_w = Div(f_v, f_q)",
            {"f_k": 60.0, "f_e": 0.01},
            ("f_s", "f_c", "f_n", "f_b", "f_m"),
        ),
    }
)
IN_THE_CANDIDATE = ("cast_to_integers", "cast_of_indices", "lost_mask", "wrong_axis", "lost_node")


def with_fault(base: Base, fault: Fault) -> onnx.ModelProto:
    """The base's model with the fault's nodes behind the site."""
    found = onnx.ModelProto()
    found.CopyFrom(base.model)
    text = f'<ir_version: 8, opset_import: ["" : 17]>\ng (float[N] f_v) => (float[N] f_w) {{\n{fault.body}\n}}'
    nodes = [*named_nodes(onnx.parser.parse_model(text)).graph.node]
    _read_instead(found, base.site, "f_w")
    for node in nodes:
        for index, name in enumerate(node.input):
            if name == "f_v":
                node.input[index] = base.site
    _insert_behind(found, base.site, nodes)
    return with_weights(found, {name: np.array(value) for name, value in fault.constants.items()})


def with_wrong_candidate(base: Base, name: str) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    """The base's model as a candidate has it that computes something else, and the reference's nodes to blame."""
    found = onnx.ModelProto()
    found.CopyFrom(base.model)
    if name == "cast_to_integers":
        return found, (base.site, *_cast(found, base.site, onnx.TensorProto.INT32, onnx.TensorProto.FLOAT))
    if name == "cast_of_indices":
        return found, ("ids", *_cast(found, "ids", onnx.TensorProto.FLOAT16, onnx.TensorProto.INT64))
    if name == "lost_mask":
        node = next(each for each in found.graph.node if each.name == base.mask)
        _read_instead(found, base.mask, node.input[0])
        found.graph.node.remove(node)
        return found, (base.mask,)
    if name == "lost_node":
        node = next(each for each in found.graph.node if each.name == base.site)
        _read_instead(found, base.site, "twice")
        _insert_behind(found, base.site, [onnx.helper.make_node("Relu", [base.site], ["twice"], name="twice")])
        return found, tuple(each.name for each in base.model.graph.node if base.site in each.input)
    where, attribute, value = base.axis
    node = next(each for each in found.graph.node if each.name == where)
    kept = [each for each in node.attribute if each.name != attribute]
    del node.attribute[:]
    node.attribute.extend([*kept, onnx.helper.make_attribute(attribute, value)])
    return found, (where,)


def _cast(found: onnx.ModelProto, site: str, there: int, back: int) -> tuple[str, ...]:
    """Casts of `site`, and the nodes that read them."""
    readers = tuple(node.name for node in found.graph.node if site in node.input)
    _read_instead(found, site, "f_back")
    casts = [
        onnx.helper.make_node("Cast", [site], ["f_there"], name="f_there", to=there),
        onnx.helper.make_node("Cast", ["f_there"], ["f_back"], name="f_back", to=back),
    ]
    _insert_behind(found, site, casts)
    return readers


def _read_instead(found: onnx.ModelProto, name: str, other: str) -> None:
    for node in found.graph.node:
        for index, read in enumerate(node.input):
            if read == name:
                node.input[index] = other


def _insert_behind(found: onnx.ModelProto, name: str, nodes: list[onnx.NodeProto]) -> None:
    place = next((n + 1 for n, node in enumerate(found.graph.node) if name in node.output), 0)
    for offset, node in enumerate(nodes):
        found.graph.node.insert(place + offset, node)
