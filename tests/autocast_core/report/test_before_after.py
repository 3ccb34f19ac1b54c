"""The before-and-after table from a run's metrics."""

from collections.abc import Mapping

from autocast_core.report.before_after import changes, plain

BACKENDS = {"fidelity": "simulation on onnxruntime-cpu", "noise_floor": "onnxruntime-cpu"}


def rows(metrics: Mapping[str, float]) -> list[tuple[str, str, str, str]]:
    found = changes(metrics, "fp16", BACKENDS, "tensorrt_rtx")
    return [(change.quantity, plain(change.before), plain(change.after), change.backend) for change in found]


def test_sizes_have_their_ratio() -> None:
    assert rows({"model/bytes_before": 248_023, "model/bytes_after": 126_000}) == [
        ("Size", "248.02 kB", "126.00 kB (51%)", "")
    ]


def test_nodes_are_counted_among_the_float_ones() -> None:
    metrics = {"nodes/total": 9, "nodes/low_precision": 3, "nodes/fp32": 1, "nodes/low_precision_share": 0.75}
    assert rows(metrics) == [("Nodes in fp16", "0", "3 of 4 (75.00%)", "")]


def test_the_noise_floor_follows_the_errors_and_is_the_runtimes() -> None:
    metrics = {
        "noise_floor/rel_l2": 1e-6,
        "noise_floor/sqnr_db": 120.0,
        "fidelity/rel_l2": 0.001,
        "fidelity/sqnr_db": 60.0,
    }
    assert rows(metrics) == [
        ("Worst output: relative L2 error, SQNR", "exact", "0.001, 60 dB", "simulation on onnxruntime-cpu"),
        ("Noise floor: FP32 without graph optimisation", "exact", "1e-06, 120 dB", "onnxruntime-cpu"),
    ]


def test_values_that_were_not_compared_stand_beside_the_errors() -> None:
    metrics = {"fidelity/rel_l2": 0.0, "fidelity/sqnr_db": 200.0, "fidelity/nonfinite": 6.0}
    ((_, _, after, _),) = rows(metrics)
    assert after == "0, 200 dB, 6 NaN or infinite values left out"
    ((_, _, after, _),) = rows({**metrics, "fidelity/nonfinite": 0.0})
    assert after == "0, 200 dB"


def test_a_task_metric_without_a_reference_is_no_comparison() -> None:
    assert rows({"task/top1": 0.5, "task/top5": 0.9, "task/top1_fp32": 0.75}) == [
        ("Task: top1", "0.75", "0.5", "simulation on onnxruntime-cpu")
    ]


def test_latencies_name_the_engine_that_measured_them() -> None:
    assert rows({"tensorrt/latency_ms/fp32": 2.0, "tensorrt/latency_ms/mixed": 1.0}) == [
        ("Latency, median", "2 ms", "1 ms", "tensorrt_rtx")
    ]


def test_an_estimated_time_says_that_it_is_one_and_of_which_device() -> None:
    backend = "estimate: roofline over kernels of tensorrt_rtx"
    mixed = {"engine/estimated_ms/l4": 1.5}
    assert rows(mixed) == [("Estimated time on l4", "–", "1.5 ms", backend)]
    assert rows({**mixed, "engine/fp32/estimated_ms/l4": 4.0}) == [("Estimated time on l4", "4 ms", "1.5 ms", backend)]
