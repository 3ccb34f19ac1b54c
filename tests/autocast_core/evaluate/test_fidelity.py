"""Fidelity: the definitions, over batches, with what is not finite, no float or no tensor."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from autocast_core.data import InputSpec, open_batches
from autocast_core.errors import DataError
from autocast_core.evaluate import ErrorSums, Fidelity, OutputFidelity, compare, evaluate
from autocast_core.evaluate.sums.percentiles import PERCENTILES


class Fixed:
    """A session that gives fixed outputs, batch by batch."""

    backend = "fixed"
    input_names: Sequence[str] = ("x",)

    def __init__(self, **outputs: list[Any]) -> None:
        self.output_names: Sequence[str] = tuple(outputs)
        self._rows = list(zip(*outputs.values(), strict=True))

    def run(self, feeds: Mapping[str, np.ndarray]) -> list[Any]:
        return list(self._rows[int(feeds["x"][0])])

    def close(self) -> None: ...


def batches(count: int, labels: np.ndarray | None = None) -> Any:
    import onnx_ir as ir

    data = {"x": np.arange(count, dtype=np.int64)}
    return open_batches(
        data if labels is None else {**data, "labels": labels}, [InputSpec("x", ir.DataType.INT64, (1,))]
    )


def of(reference: Any, candidate: Any) -> OutputFidelity:
    sums = ErrorSums("y")
    sums.add(reference, candidate)
    return sums.result()


def test_metrics_are_those_of_the_whole_data_not_means_over_batches() -> None:
    r, c = [np.array([3.0, 4.0]), np.array([0.0, 12.0])], [np.array([3.0, 5.0]), np.array([2.0, 12.0])]
    found = compare(Fixed(y=r), Fixed(y=c), batches(2)).outputs[0]
    assert found.rel_l2 == pytest.approx(math.sqrt(5) / 13)
    assert (found.max_abs, found.mean_abs, found.elements, found.equal_share) == (2.0, 0.75, 4, 0.5)
    assert found.cosine == pytest.approx((9 + 20 + 144) / (13 * math.sqrt(9 + 25 + 4 + 144)))
    assert found.sqnr_db == pytest.approx(10 * math.log10(169 / 5))


def test_equal_outputs_have_an_sqnr_of_200() -> None:
    found = of(np.ones(3, np.float32), np.ones(3, np.float32))
    assert (found.rel_l2, found.sqnr_db, found.cosine, found.max_abs) == (0.0, 200.0, 1.0, 0.0)


def test_an_error_where_the_reference_is_zero_is_infinite() -> None:
    found = of(np.zeros(2), np.array([0.0, 1e-3]))
    assert (found.rel_l2, found.sqnr_db, found.cosine) == (math.inf, -200.0, 0.0)


def test_differences_are_taken_in_float64() -> None:
    found = of(np.array([1.0], np.float32), np.array([1.0 + 2.0**-23], np.float32))
    assert found.max_abs == 2.0**-23


def test_the_same_infinity_or_nan_on_both_sides_is_no_error() -> None:
    odd = np.array([np.nan, np.inf, -np.inf, 1.0])
    found = of(odd, odd.copy())
    assert (found.rel_l2, found.new_nonfinite, found.equal_share) == (0.0, 0, 1.0)


@pytest.mark.parametrize(
    ("reference", "candidate", "new"), [(1.0, np.nan, 1), (1.0, -np.inf, 1), (np.inf, -np.inf, 0), (np.nan, 1.0, 0)]
)
def test_any_other_mismatch_is_an_infinite_error(reference: float, candidate: float, new: int) -> None:
    found = of(np.array([reference, 2.0]), np.array([candidate, 2.0]))
    assert (found.rel_l2, found.max_abs, found.new_nonfinite) == (math.inf, math.inf, new)
    assert found.cosine == 1.0


def test_integers_and_booleans_report_agreement() -> None:
    found = of(np.array([1, 2, 3, 4]), np.array([1, 2, 3, 5]))
    assert (found.equal_share, found.is_float, found.max_abs) == (0.75, False, 1.0)
    assert of(np.array([True, False]), np.array([True, True])).equal_share == 0.5
    assert of(np.array(["a", "b"], object), np.array(["a", "c"], object)).equal_share == 0.5


def test_sequences_compare_element_by_element() -> None:
    found = of([np.ones(2), np.ones(3)], [np.ones(2), np.array([1.0, 1.0, 2.0])])
    assert (found.elements, found.max_abs) == (5, 1.0)
    assert of([np.ones(2)], [np.ones(2), np.ones(2)]).rel_l2 == math.inf


def test_another_shape_is_an_infinite_error() -> None:
    assert of(np.ones((2, 3)), np.ones((3, 2))).rel_l2 == math.inf


def test_empty_outputs_are_no_error() -> None:
    assert of(np.zeros((0, 3)), np.zeros((0, 3))).sqnr_db == 200.0


@given(npst.arrays(np.float32, 12, elements=st.floats(-6e4, 6e4, width=32)), st.integers(1, 11))
def test_batches_may_be_cut_anywhere(values: np.ndarray, cut: int) -> None:
    other = values.astype(np.float16).astype(np.float32)
    sums = ErrorSums("y")
    sums.add(values[:cut], other[:cut])
    sums.add(values[cut:], other[cut:])
    whole, parts = of(values, other), sums.result()
    assert parts.rel_l2 == pytest.approx(whole.rel_l2, rel=1e-9)
    assert (parts.max_abs, parts.new_nonfinite) == (whole.max_abs, whole.new_nonfinite)


def test_outputs_are_matched_by_name() -> None:
    a, b = [np.ones(2)], [np.full(2, 5.0)]
    assert compare(Fixed(a=a, b=b), Fixed(b=b, a=a), batches(1)).worst.rel_l2 == 0.0
    with pytest.raises(DataError, match=r"no output 'b' \(it has a\)"):
        compare(Fixed(a=a, b=b), Fixed(a=a), batches(1))


def test_every_batch_has_figures_of_its_own() -> None:
    r, c = [np.array([3.0, 4.0]), np.array([0.0, 12.0])], [np.array([3.0, 5.0]), np.array([2.0, 12.0])]
    found = compare(Fixed(y=r), Fixed(y=c), batches(2))
    assert [round(outputs[0].rel_l2, 9) for outputs in found.by_batch] == [0.2, round(2 / 12, 9)]
    table = found.table()
    assert (table["batch"], table["output"], table["max_abs"]) == ([0, 1], ["y", "y"], [1.0, 2.0])
    assert table["kl"] == [None, None]


def test_the_batches_worst_are_the_worst_of_all() -> None:
    r = [np.array([1.0, 2.0]), np.array([3.0, 4.0])]
    c = [np.array([1.0, np.inf]), np.array([3.5, 4.0])]
    found = compare(Fixed(y=r), Fixed(y=c), batches(2))
    assert [outputs[0].new_nonfinite for outputs in found.by_batch] == [1, 0]
    assert found.worst.new_nonfinite == 1


@given(npst.arrays(np.float64, st.integers(1, 300), elements=st.floats(0, 1e30)))
def test_percentiles_are_those_of_all_elements_within_half_a_percent(errors: np.ndarray) -> None:
    found = of(np.zeros(errors.size), errors)
    for name, share in PERCENTILES.items():
        expected = np.sort(errors)[int(np.ceil(share * errors.size)) - 1]
        assert getattr(found, name) == pytest.approx(expected, rel=0.004, abs=1e-37)
        assert getattr(found, name) <= found.max_abs


def test_percentiles_count_over_batches_and_know_infinity() -> None:
    r, c = [np.zeros(90), np.zeros(10)], [np.full(90, 2.0), np.full(10, np.inf)]
    found = compare(Fixed(y=r), Fixed(y=c), batches(2)).outputs[0]
    assert found.p90_abs == pytest.approx(2.0, rel=0.004)
    assert found.p99_abs == math.inf


def output(name: str, rel_l2: float, **others: Any) -> OutputFidelity:
    fields = {"max_abs": 0.0, "mean_abs": 0.0, "cosine": 1.0, "sqnr_db": 0.0, "new_nonfinite": 0, "equal_share": 1.0}
    return OutputFidelity(name, rel_l2, elements=1, **{**fields, **others})


def test_the_worst_is_the_worst_of_each_metric_over_float_outputs() -> None:
    outputs = output("a", 0.1, max_abs=1.0, new_nonfinite=1), output("b", 0.2, max_abs=0.5, cosine=0.9, new_nonfinite=2)
    worst = Fidelity((*outputs, output("ids", 9.0, is_float=False)), "fixed", 1).worst
    assert (worst.name, worst.rel_l2, worst.max_abs, worst.cosine, worst.new_nonfinite) == ("b", 0.2, 1.0, 0.9, 3)
    assert Fidelity((output("ids", 9.0, is_float=False),), "fixed", 1).worst.rel_l2 == 9.0


def test_metric_names_are_safe_and_unique() -> None:
    found = Fidelity(tuple(output(name, 0.0) for name in ("a/b:0", "a.b.0", "worst", "ü", "", "x" * 500)), "fixed", 1)
    assert list(found.names.values()) == ["a_b_0", "a_b_0_2", "worst", "_", "__2", "x" * 200]
    metrics = found.metrics("fidelity_onnxruntime")
    assert metrics["fidelity_onnxruntime/outputs/a_b_0/cosine"] == 1.0
    assert "fidelity_onnxruntime/sqnr_db" in metrics


def test_labels_give_accuracy_in_the_same_pass() -> None:
    reference = Fixed(y=[np.array([[0.1, 0.9]]), np.array([[0.8, 0.2]])])
    candidate = Fixed(y=[np.array([[0.1, 0.9]]), np.array([[0.1, 0.2]])])
    found = evaluate(reference, candidate, batches(2, labels=np.array([1, 0])))
    assert found.task is not None
    assert found.fidelity.outputs[0].classes is not None and found.fidelity.outputs[0].classes.top1_agreement == 0.5
    assert found.task.metrics() == {
        "task/top1": 0.5,
        "task/top1_fp32": 1.0,
        "task/top1_drop": 0.5,
        "task/metric_ratio": 0.5,
    }
    assert evaluate(reference, candidate, batches(2)).task is None
