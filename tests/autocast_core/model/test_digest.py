"""Digests of weights."""

import numpy as np
import onnx
from onnx import numpy_helper

from autocast_core.model import load_model, load_proto, weights_digest


def test_the_digest_of_weights_is_the_same_inline_and_external(weighted_model, save):
    inline = load_model(save(weighted_model))
    external = load_model(save(weighted_model, external=True, name="external.onnx"))
    assert weights_digest(inline) == weights_digest(external)


def test_the_digest_of_weights_does_not_depend_on_their_order_but_on_their_names(weighted_model):
    before = weights_digest(load_proto(weighted_model))
    first, second = weighted_model.graph.initializer
    kept = [onnx.TensorProto.FromString(tensor.SerializeToString()) for tensor in (second, first)]
    del weighted_model.graph.initializer[:]
    weighted_model.graph.initializer.extend(kept)
    assert weights_digest(load_proto(weighted_model)) == before
    weighted_model.graph.initializer[0].name, weighted_model.graph.initializer[1].name = "w", "s"
    assert weights_digest(load_proto(weighted_model)) != before


def test_one_changed_weight_in_a_body_changes_the_digest(weighted_model):
    before = weights_digest(load_proto(weighted_model))
    body = next(a.g for a in weighted_model.graph.node[1].attribute if a.name == "then_branch")
    changed = numpy_helper.to_array(body.initializer[0]).copy()
    changed[0, 0] = np.nextafter(changed[0, 0], np.float32(9))
    body.initializer[0].CopyFrom(numpy_helper.from_array(changed, "v"))
    assert weights_digest(load_proto(weighted_model)) != before
