"""Which metrics a run shows."""

from __future__ import annotations

import json

import numpy as np
import pytest

from autocast_core.evaluate import Comparison, GateResult, default_gates, parse_gate
from autocast_core.precision import Precision
from tasks.tracking.run_metrics import metrics_text, read_by, shown_metrics


def measured(*outputs: str, prefix: str = "fidelity") -> tuple[dict[str, float], dict[str, str]]:
    """All metrics of outputs that are off by a thousandth, and the names of the outputs in them."""
    comparison = Comparison(outputs, outputs)
    for _ in range(2):
        comparison.add([np.ones((2, 4)) for _ in outputs], [np.full((2, 4), 1.001) for _ in outputs])
    fidelity = comparison.result("fixed").fidelity
    return fidelity.metrics(prefix), fidelity.names


def test_a_run_shows_the_only_output_once() -> None:
    found = shown_metrics(measured("logits")[0])
    assert not any("/outputs/" in name for name in found)
    assert {"fidelity/sqnr_db", "fidelity/top1_agreement", "fidelity/worst_batch/sqnr_db"} <= set(found)
    assert len(found) <= 16


def test_of_several_outputs_each_has_a_folder_with_few() -> None:
    found = shown_metrics(measured("logits", "boxes")[0])
    shown = {name.removeprefix("fidelity/outputs/boxes/") for name in found if "/boxes/" in name}
    assert shown == {"rel_l2", "sqnr_db", "worst_batch/sqnr_db"}


def test_other_backends_show_the_worst_output_alone() -> None:
    found = shown_metrics(measured("logits", "boxes", prefix="fidelity_onnxruntime")[0])
    assert set(found) == {
        f"fidelity_onnxruntime/{name}" for name in ("rel_l2", "sqnr_db", "new_nonfinite", "nonfinite")
    }


def test_the_headlines_come_first_and_single_outputs_last() -> None:
    names = list(shown_metrics({"nodes/total": 3.0, "repair/met": 1.0, **measured("logits", "boxes")[0]}))
    assert names[:2] == ["fidelity/sqnr_db", "fidelity/rel_l2"]
    order = [names.index(name) for name in ("fidelity/worst_batch/sqnr_db", "nodes/total", "repair/met")]
    assert order == sorted(order)
    assert all("/outputs/" in name for name in names[order[-1] + 1 :])


def test_what_is_no_fidelity_is_all_shown() -> None:
    metrics = {"nodes/total": 3.0, "task/boxes/worst_batch/lost": 1.0, "engine/kernels": 2.0}
    assert shown_metrics(metrics) == metrics


@pytest.mark.parametrize("expression", ["boxes.cosine>=0.9", "boxes.worst_batch.mean_abs<=1", "p99_abs<=1"])
def test_what_a_gate_judges_is_shown(expression: str) -> None:
    metrics, names = measured("logits", "boxes")
    gate = parse_gate(expression).check(metrics, names)
    assert gate.passed
    found = shown_metrics(metrics, read_by([gate], names))
    assert parse_gate(expression).check(found, names) == gate


def test_the_default_gates_on_what_is_shown_are_those_on_everything() -> None:
    for outputs in (("logits",), ("logits", "boxes")):
        metrics, names = measured(*outputs)
        gates = default_gates(Precision.FP16, metrics, names)
        found = shown_metrics(metrics, read_by([GateResult(each, None, True) for each in gates], names))
        assert default_gates(Precision.FP16, found, names) == gates
        assert all(parse_gate(each).check(found, names).passed for each in gates)


def test_the_file_has_all_metrics_in_order_without_nan() -> None:
    assert metrics_text({"b": float("nan"), "a": 1.0}) == '{\n "a": 1.0,\n "b": null\n}\n'
    assert json.loads(metrics_text(measured("y")[0])).keys() == measured("y")[0].keys()
