"""Properties of every conversion, on random models."""

from __future__ import annotations

from random import Random

import numpy as np
import onnx
import onnx_ir as ir
from hypothesis import HealthCheck, Phase, assume, given, note, reject, settings
from hypothesis import strategies as st

from autocast_core.apply import apply_plan
from autocast_core.config import ConversionConfig, Precision
from autocast_core.model import load_proto
from autocast_core.operators.families import READS_NO_ELEMENTS
from autocast_core.pipeline.artifacts import Converted
from autocast_core.pipeline.given_plans.apply_plan import apply_plan_in_memory
from autocast_core.pipeline.job import Job
from tests.conformance.conversion import convert
from tests.conformance.evaluation import close, run
from tests.properties.graphs import graphs, ports, repeated_casts, undone_casts, without_shapes
from tests.properties.random_models import random_feeds, random_model

TOLERANCE = 2.0**-6
"""Of the largest output magnitude, at least 1: eight roundings to FP16 leave this much room to spare."""

QUANTUM = 2.0**-5
"""The scale of the random models' Q/DQ pairs: where a rounding tips an element over, it moves by this much."""


def _shown(seed: int) -> onnx.ModelProto:
    model = random_model(Random(seed))
    note(onnx.printer.to_text(model))
    return model


models = st.integers(0, 2**32).map(_shown)
precisions = st.sampled_from([Precision.FP16, Precision.BF16])
keeps = st.sampled_from([True, False, ("x0",)])
bounded = settings(
    max_examples=40,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)
"""Without shrinking, which takes minutes for models: the failing model is printed instead."""


@bounded
@given(models, precisions, keeps)
def test_a_converted_model_is_valid_and_keeps_its_contract(model, precision, keep):
    converted, plan = convert(model, ConversionConfig(precision=precision, keep_io_types=keep), random_feeds(model))
    onnx.checker.check_model(converted, full_check=True)
    for (name, before, dims), (new_name, after, new_dims) in zip(ports(model), ports(converted), strict=True):
        kept = keep is True or name in plan.io_kept or (keep is not False and name in keep)
        wanted = before if before != onnx.TensorProto.FLOAT or kept else int(precision.dtype)
        assert (new_name, after, new_dims) == (name, wanted, dims)


@bounded
@given(models, precisions, keeps)
def test_no_cast_repeats_or_undoes_another(model, precision, keep):
    converted, _ = convert(model, ConversionConfig(precision=precision, keep_io_types=keep), random_feeds(model))
    assert repeated_casts(converted) == []
    assert undone_casts(converted) == []


@bounded
@given(models, st.integers(0, 2**31), keeps)
def test_mixed_decisions_are_valid_and_need_no_repeated_or_undoing_cast(model, seed, keep):
    kept = _some_nodes(model, seed)
    config = ConversionConfig(nodes_to_exclude=kept, keep_io_types=keep)
    converted, _ = convert(model, config, random_feeds(model))
    onnx.checker.check_model(converted, full_check=True)
    assert repeated_casts(converted) == []
    assert undone_casts(converted) == []


@bounded
@given(models, precisions)
def test_the_same_model_gives_the_same_bytes_and_is_not_modified(model, precision):
    before = model.SerializeToString(deterministic=True)
    config = ConversionConfig(precision=precision)
    first, second = (convert(model, config, random_feeds(model)) for _ in range(2))
    assert first[0].SerializeToString() == second[0].SerializeToString()
    assert first[1].to_json() == second[1].to_json()
    assert model.SerializeToString(deterministic=True) == before


@bounded
@given(models, st.integers(0, 2**31), precisions, keeps)
def test_applying_a_plan_to_its_own_output_changes_nothing(model, seed, precision, keep):
    config = ConversionConfig(precision=precision, nodes_to_exclude=_some_nodes(model, seed), keep_io_types=keep)
    converted, plan = convert(model, config, random_feeds(model))
    again = apply_plan(load_proto(converted), plan)
    assert again.casts_inserted == 0
    assert without_shapes(ir.serde.serialize_model(again.model)) == without_shapes(converted)


@bounded
@given(models, st.integers(0, 2**31), precisions, keeps)
def test_a_plan_fits_its_own_output_whatever_sanitize_does_to_it(model, seed, precision, keep):
    config = ConversionConfig(precision=precision, nodes_to_exclude=_some_nodes(model, seed), keep_io_types=keep)
    converted, plan = convert(model, config, random_feeds(model))
    again = apply_plan_in_memory(Job(converted, config, random_feeds(model)), plan)[Converted]
    assert without_shapes(ir.serde.serialize_model(again.model)) == without_shapes(converted)


@bounded
@given(models, st.integers(0, 2**31), precisions, keeps)
def test_converting_a_converted_model_never_lowers_a_node_that_was_kept(model, seed, precision, keep):
    config = ConversionConfig(precision=precision, nodes_to_exclude=_some_nodes(model, seed), keep_io_types=keep)
    converted, plan = convert(model, config, random_feeds(model))
    _, second = convert(converted, ConversionConfig(precision=precision, keep_io_types=keep), random_feeds(model))
    kept = {decision.id for decision in plan.nodes if decision.precision == Precision.FP32}
    lowered = {each.id for each in second.nodes if each.precision.is_low and each.op_type not in READS_NO_ELEMENTS}
    assert kept & lowered == set()


@bounded
@given(models)
def test_fp16_outputs_are_close_to_those_of_fp32(model):
    _assert_close(model)


def test_a_model_that_onnx_runtime_cannot_run_converts_as_well():
    """Its version 1.32 loses a Cast of a Cast that a body reads, whatever its optimization level."""
    _assert_close(random_model(Random(347)))


def _assert_close(model):
    feeds = random_feeds(model)
    converted, _ = convert(model, ConversionConfig(keep_io_types=True), feeds)
    quantized = any(node.op_type == "QuantizeLinear" for graph in _all_graphs(model) for node in graph.node)
    tolerance = 8 * QUANTUM if quantized else TOLERANCE
    expected, actual = _outputs(model, converted, feeds)
    assert actual is not None
    for left, right in zip(expected, actual, strict=True):
        assert close([np.append(left, np.float32(1))], [np.append(right, np.float32(1))], tolerance), (left, right)


@bounded
@given(models, precisions)
def test_a_plan_that_keeps_everything_gives_bit_equal_outputs(model, precision):
    feeds = random_feeds(model)
    config = ConversionConfig(precision=precision, nodes_to_exclude=(".*",), keep_io_types=True)
    converted, plan = convert(model, config, feeds)
    assert {decision.rule for decision in plan.nodes if decision.precision.is_low} <= {"already_low"}
    expected, actual = _outputs(model, converted, feeds)
    assert actual is not None
    for left, right in zip(expected, actual, strict=True):
        np.testing.assert_array_equal(left, right)


@bounded
@given(models, precisions)
def test_weights_that_only_low_nodes_read_are_stored_once_in_16_bits(model, precision):
    converted, plan = convert(model, ConversionConfig(precision=precision, data_max=float("inf")), random_feeds(model))
    assume(all(decision.precision != Precision.FP32 for decision in plan.nodes))
    indifferent = {"Cast", *READS_NO_ELEMENTS}
    nodes = [node for graph in graphs(converted.graph) for node in graph.node if node.op_type not in indifferent]
    read = {name for node in nodes for name in node.input}
    stored = {tensor.name: tensor.data_type for tensor in converted.graph.initializer if tensor.name in read}
    assert set(stored.values()) <= {int(precision.dtype)}
    assert len({name.removesuffix(f"_{precision}") for name in stored}) == len(stored)


def _outputs(model, converted, feeds):
    """The outputs of both models: by ONNX Runtime, or by ONNX's reference where that cannot run the original.

    An original that neither runs proves nothing and is left out; Hypothesis complains where they are many.
    """
    for engine in ("onnxruntime", "reference"):
        expected = run(engine, model, feeds)
        if expected is not None:
            return expected, run(engine, converted, feeds)
    return reject()


def _some_nodes(model: onnx.ModelProto, seed: int) -> tuple[str, ...]:
    """Patterns that match about half of the named nodes, in bodies too."""
    random = Random(seed)
    names = [node.name for graph in _all_graphs(model) for node in graph.node if node.name]
    return tuple(f"{name}$" for name in names if random.random() < 0.5)


def _all_graphs(model: onnx.ModelProto) -> list[onnx.GraphProto]:
    return list(graphs(model.graph))
