"""Several versions of a model in one graph: every output bit for bit as alone."""

import numpy as np
import onnx
import pytest

from autocast_core.apply import apply_plan
from autocast_core.calibrate import Statistics
from autocast_core.config import ConversionConfig, Precision
from autocast_core.data import input_specs, open_batches
from autocast_core.decide import decide
from autocast_core.model import load_model, load_proto
from autocast_core.pipeline.job import open_runtime
from autocast_core.sanitize import sanitize
from autocast_core.search.merge_models import merge_models
from autocast_core.simulate import simulate
from tests.autocast_core.search.planted import BRANCHES
from tests.models import build

CONFIG = ConversionConfig()


def versions(model, *kept):
    """The simulated models that keep these nodes (names) in FP32."""
    sanitized = sanitize(model, CONFIG).model
    asked = ConversionConfig(data_max=float("inf"), init_max=float("inf"), small_values=False)
    plan = decide(sanitized, Statistics(), {}, asked)
    plans = [
        plan.with_precisions({f"graph/{name}": Precision.FP32 for name in names}, "search", "kept") for names in kept
    ]
    return [simulate(apply_plan(sanitized, each).model) for each in plans]


def outputs(model, batches):
    session = open_runtime(CONFIG).open(model, exact=True)
    return [array for feeds in batches for array in session.run(feeds)]


def assert_as_alone(model, batches, *kept):
    alone = [outputs(version, batches) for version in versions(model, *kept)]
    together = outputs(merge_models(versions(model, *kept)), batches)
    count = len(alone[0]) // len(batches)
    for number, expected in enumerate(alone):
        starts = [batch * count * len(alone) + number * count for batch in range(len(batches))]
        found = [array for start in starts for array in together[start : start + count]]
        for left, right in zip(expected, found, strict=True):
            assert np.array_equal(left, right, equal_nan=True)
    return alone


def test_plans_of_the_planted_model_are_measured_as_alone(planted):
    proto, data = planted
    model = load_proto(proto)
    batches = open_batches(data, input_specs(model), batch_size=8)
    alone = assert_as_alone(model, batches, (), ("overflow", "down"), ("wave",), ("embed", "head"))
    assert not np.array_equal(alone[0][0], alone[1][0])


@pytest.mark.parametrize("taken", [True, False])
def test_bodies_read_what_their_own_version_computes(taken):
    model = load_proto(onnx.parser.parse_model(BRANCHES))
    data = {"x": np.linspace(-1, 1, 8, dtype="f4").reshape(2, 4), "c": np.array(taken)}
    batches = open_batches(data, input_specs(model), batch_size=2)
    alone = assert_as_alone(model, batches, (), ("first",), ("choice:then_branch/big", "choice:then_branch/small"))
    assert np.array_equal(alone[0][0], alone[2][0], equal_nan=True) != taken


def test_nodes_and_weights_in_common_are_there_once(planted):
    model = load_proto(planted[0])
    one, other = versions(model, (), ("head",))
    before = len(list(one.graph))
    assert len(list(merge_models([one, other]).graph)) - before in (1, 2, 3)  # the head, and what rounds around it
    alone = versions(model, ())[0]
    assert len(merge_models(versions(model, (), (), ())).graph.initializers) == len(alone.graph.initializers)


def test_loops_and_branches_of_an_exported_model(tmp_path):
    built = build("if_loop", tmp_path, layers=2)
    model = load_model(built.path)
    names = [node.name for node in sanitize(model, CONFIG).model.graph if node.op_type in ("MatMul", "Gemm", "Add")]
    batches = open_batches(built.evaluation, input_specs(model), batch_size=1)
    assert_as_alone(model, batches, (), tuple(names[:2]), tuple(names[-2:]))
