"""What every search promises: certificate, determinism, resumption, limits, bad input."""

import json

import numpy as np
import onnx
import pytest

from autocast_core.apply import apply_plan
from autocast_core.backends.onnxruntime.session import OnnxRuntime
from autocast_core.config import ConversionConfig
from autocast_core.data import input_specs, open_batches
from autocast_core.errors import BackendError, ConfigError, DataError, GateError
from autocast_core.evaluate import evaluate
from autocast_core.model import load_proto
from autocast_core.pipeline.job import open_runtime
from autocast_core.plan import PrecisionPlan
from autocast_core.search import FileTrials, MemoryTrials, measure
from autocast_core.simulate import simulate
from tests.autocast_core.search.planted import SENSITIVE, names, searched

BUDGETS = ("sqnr_db>=55", "no_new_nonfinite")


@pytest.fixture(scope="module")
def found(planted):
    return searched(*planted, *BUDGETS)


class CountingRuntime:
    """ONNX Runtime that counts the models it opens, and fails once it has opened `most`."""

    name = "counting"

    def __init__(self, most=10**6):
        self.opened, self.most = 0, most

    def open(self, model, **options):
        self.opened += 1
        if self.opened > self.most:
            raise KeyboardInterrupt
        return OnnxRuntime(threads=1).open(model, **options)


def test_each_certificate_entry_is_measured_again_as_written(planted, found):
    proto, data = planted
    model = load_proto(proto)
    batches = open_batches(data, input_specs(model), batch_size=8)
    runtime = open_runtime(ConversionConfig())
    for entry in found.certificate:
        lowered = found.plan.with_precisions(dict.fromkeys(entry.lowered, found.plan.precision), "test", "")
        candidate = simulate(apply_plan(model, lowered).model)
        measured = evaluate(runtime.open(model), runtime.open(candidate, exact=True), batches).fidelity.metrics()
        assert measured["fidelity/sqnr_db"] == pytest.approx(entry.metrics["fidelity/sqnr_db"], rel=1e-6)
        assert measured["fidelity/sqnr_db"] < 55 or measured["fidelity/new_nonfinite"] > 0


def test_workers_do_not_change_the_result(planted, found):
    together = searched(*planted, *BUDGETS, workers=3)
    assert found.plan.to_json() == together.plan.to_json()
    assert [trial.kept for trial in found.trials] == [trial.kept for trial in together.trials]


def test_an_interrupted_search_goes_on(planted, found, tmp_path):
    path = tmp_path / "trials.jsonl"
    with pytest.raises(KeyboardInterrupt):
        searched(*planted, *BUDGETS, trials_store=FileTrials(path), runtime=CountingRuntime(7))
    rest = CountingRuntime()
    resumed = searched(*planted, *BUDGETS, trials_store=FileTrials(path), runtime=rest)
    assert resumed.plan.to_json() == found.plan.to_json()
    assert resumed.evaluations == found.evaluations
    # The reference runs in both; an interrupted one, the attribution and five plans are not measured again.
    assert rest.opened == found.evaluations - 6


def test_a_line_that_a_crash_cut_short_is_measured_again(tmp_path):
    path = tmp_path / "trials.jsonl"
    FileTrials(path).put("a", {"metrics": {"m": 1.0}, "error": None})
    with path.open("a") as file:
        file.write('{"key": "b", "val')
    store = FileTrials(path)
    assert store.get("a") == {"metrics": {"m": 1.0}, "error": None}
    assert store.get("b") is None


def test_trials_on_other_data_do_not_count(planted):
    proto, data = planted
    store = MemoryTrials()
    searched(proto, data, *BUDGETS, trials_store=store)
    runtime = CountingRuntime()
    found = searched(proto, {**data, "x": data["x"] * 1.5}, *BUDGETS, trials_store=store, runtime=runtime)
    assert runtime.opened == found.evaluations


def test_a_limit_of_trials_ends_with_the_best_plan_so_far(planted):
    found = searched(*planted, *BUDGETS, max_trials=6)
    assert not found.complete and "max-trials" in found.stopped
    assert found.evaluations == 6
    assert all(result.passed for result in found.budgets)
    assert found.plan.data.stopped == found.stopped


def test_a_limit_of_time_ends_likewise(planted):
    now = iter(range(0, 10**6, 20))
    found = searched(*planted, *BUDGETS, minutes=1, clock=lambda: float(next(now)))
    assert not found.complete and "minutes" in found.stopped
    assert all(result.passed for result in found.budgets)


def test_a_search_whose_time_is_up_before_its_first_trial_keeps_every_node(planted):
    now = iter([0.0, *[1000.0] * 99])
    found = searched(*planted, *BUDGETS, minutes=1, clock=lambda: next(now))
    assert "minutes" in found.stopped
    assert found.metrics == found.noise_floor


def test_a_budget_that_all_fp32_misses_is_refused_at_once(planted):
    runtime = CountingRuntime()
    with pytest.raises(GateError, match=r"not even the all-FP32 model meets.*sqnr_db>=201"):
        searched(*planted, "sqnr_db>=201", runtime=runtime)
    assert runtime.opened == 3


def test_a_budget_that_needs_nothing_in_fp32_ends_at_once(planted):
    found = searched(*planted, "top1_drop<=1")
    assert (found.kept_fp32, found.certificate, found.evaluations) == ((), (), 4)
    assert found.complete


def test_a_budget_on_one_output_and_one_on_labels_hold_together(planted):
    found = searched(*planted, "y.rel_l2<=2e-3", "top1_drop<=0")
    assert found.metrics["fidelity/outputs/y/rel_l2"] <= 2e-3
    assert found.metrics["task/top1_drop"] <= 0
    assert names(found.kept_fp32) <= SENSITIVE


def test_the_noise_floor_is_that_of_another_order_of_sums(found):
    assert found.noise_floor["fidelity/sqnr_db"] > 100


def test_weights_may_count_instead_of_nodes(planted):
    found = searched(*planted, *BUDGETS, cost="weight_bytes")
    assert all(result.passed for result in found.budgets)
    assert not names(found.kept_fp32) & {"embed", "mix", "head"}


@pytest.mark.parametrize(
    ("budgets", "options", "message"),
    [
        (("snr>=40",), {}, "unknown metric 'snr'; known are rel_l2"),
        (("z.sqnr_db>=40",), {}, "no output 'z'; the outputs are y"),
        (("sqnr_db>>40",), {}, "sqnr_db"),
        ((), {}, "needs a budget"),
        (BUDGETS, {"cost": "tokens"}, "cost 'tokens'"),
        (BUDGETS, {"max_trials": 2}, "give at least 3"),
        (BUDGETS, {"minutes": 0}, "minutes is 0"),
        (BUDGETS, {"workers": 0}, "workers is 0"),
    ],
)
def test_what_cannot_be_read_is_refused(planted, budgets, options, message):
    with pytest.raises(ConfigError, match=message):
        searched(*planted, *budgets, **options)


def test_a_budget_on_labels_needs_labels(planted):
    proto, data = planted
    with pytest.raises(DataError, match="needs labels"):
        searched(proto, {name: array for name, array in data.items() if name != "labels"}, "top1_drop<=0.01")


def test_labels_that_do_not_fit_are_refused_with_both_shapes(planted):
    proto, data = planted
    with pytest.raises(DataError, match=r"labels \[3\] do not fit|3 labels"):
        searched(proto, {**data, "labels": data["labels"][:3]}, "top1_drop<=0.01")


NAN = """
<ir_version: 9, opset_import: ["": 18]>
bad (float[N, 4] x) => (float[N, 4] y) { [root] h = Sqrt(x) [sin] y = Sin(h) }
"""


def test_nan_in_the_reference_is_named_before_any_search():
    runtime = CountingRuntime()
    with pytest.raises(DataError, match="computes NaN on the evaluation data, first in tensor 'h'"):
        searched(onnx.parser.parse_model(NAN), {"x": -np.ones((4, 4), np.float32)}, *BUDGETS, runtime=runtime)
    assert runtime.opened == 1


class WithoutAttribution(CountingRuntime):
    """Refuses graphs with more outputs than the model has."""

    def open(self, model, **options):
        if len(model.graph.outputs) > 1:
            raise BackendError("too many outputs")
        return super().open(model, **options)


def test_without_an_attribution_the_search_still_meets_the_budget(planted):
    found = searched(*planted, *BUDGETS, runtime=WithoutAttribution())
    assert found.attribution.skipped == "too many outputs"
    assert all(result.passed for result in found.budgets)
    assert names(found.kept_fp32) <= SENSITIVE


def test_nan_in_the_outputs_is_named_without_an_attribution():
    with pytest.raises(DataError, match="gives NaN on batch 0 of the evaluation data, in output 'y'"):
        data = {"x": -np.ones((4, 4), np.float32)}
        searched(onnx.parser.parse_model(NAN), data, *BUDGETS, runtime=WithoutAttribution())


def test_the_plan_is_plain_json_and_is_read_back(found):
    text = found.plan.to_json()
    assert PrecisionPlan.from_json(text).to_json() == text
    assert json.loads(text)["data"]["evaluations"] == found.evaluations


def test_a_large_model_is_measured_in_more_passes_with_the_same_result(planted, found, monkeypatch):
    monkeypatch.setattr(measure, "_LARGEST_GRAPH", 1)
    alone = searched(*planted, *BUDGETS)
    assert alone.evaluations == len(alone.trials) + 2 > found.evaluations
    assert alone.kept_fp32 == found.kept_fp32
    assert {trial.kept: trial.metrics for trial in alone.trials} == {t.kept: t.metrics for t in found.trials}
