from msgspec.structs import replace

from autocast_core.calibrate.statistics import Statistics
from autocast_core.config import Precision
from autocast_core.engine.validation import Finding, Validation
from autocast_core.report.content import DataUsed, before_after, gate_outcome, how_to_approve, judged, unchecked


def test_the_outcome_counts_failed_gates(make_report, gate):
    gates = (gate("sqnr_db>=40", 12.0, False), gate("rel_l2<=1", 0.1, True))
    assert gate_outcome(make_report(gates=gates)).sentence == "Fails 1 of 2 gates."
    assert gate_outcome(make_report(gates=gates)).passed is False


def test_without_gates_nothing_is_decided(make_report):
    assert gate_outcome(make_report(gates=())).passed is None


def test_a_refusal_by_the_engine_fails_whatever_the_gates_say(make_report):
    refused = Validation("none", (), (Finding("n", "Mish", "UNSUPPORTED_NODE", "only FP16"),), package="tensorrt_rtx")
    assert (
        gate_outcome(make_report(validation=refused)).sentence
        == "Passes its gates, but tensorrt_rtx refuses the model."
    )


def test_a_report_says_how_its_version_is_approved_and_one_that_fails_does_not(make_report, gate):
    passing = (gate("rel_l2<=1", 0.1, True),)
    assert how_to_approve(make_report(name="it's mine", gates=passing, run_id="0")) == (
        "To approve: set the tag autocast.approve to champion on the version in MLflow, or run autocast promote "
        """'models:/it'"'"'s mine/VERSION' --alias champion"""
    )
    assert how_to_approve(make_report(gates=(gate("rel_l2<=1", 2.0, False),), run_id="0")) is None
    assert how_to_approve(make_report(gates=passing, run_id=None)) is None


def test_what_was_measured_names_its_backend(make_report):
    assert [line.backend for line in before_after(make_report())][-1] == "simulation on onnxruntime-cpu"


def test_random_calibration_is_named_as_unchecked(make_report):
    lines = unchecked(make_report(statistics=Statistics(origin="random"), fidelity={}))
    assert "Tensor ranges come from random data: real data may reach further." in lines
    assert "Accuracy: the outputs were not compared." in lines


def test_evaluation_on_the_calibration_data_is_named(make_report):
    lines = unchecked(make_report(data=(DataUsed("evaluation", "calibration"),)))
    assert "Accuracy on unseen data: the evaluation used the calibration data." in lines


def test_a_bound_names_how_insides_were_computed(make_report):
    fidelity = make_report().fidelity["fidelity"]
    names = ("fidelity_bound_native", "fidelity_bound_native_but_ReduceMean")
    metrics = {f"{name}/sqnr_db": 30.0 for name in names}
    lines = before_after(make_report(fidelity=dict.fromkeys(names, fidelity), metrics=metrics))
    assert [line.backend for line in lines if line.backend.startswith("bound")] == [
        "bound: native insides, simulation on onnxruntime-cpu",
        "bound: native insides, ReduceMean in FP32, simulation on onnxruntime-cpu",
    ]


def test_nodes_whose_insides_an_engine_may_round_are_named_with_a_remedy(make_report):
    plan = make_report().plan
    norms = [
        replace(plan.nodes[0], id=f"graph/n{n}", op_type="LayerNormalization", precision=Precision.FP16)
        for n in range(4)
    ]
    plan = replace(plan, nodes=(*norms, *plan.nodes))
    lines = unchecked(make_report(plan=plan))
    assert (
        "What LayerNormalization adds up inside: an engine may round it to 16 bits in graph/n0, graph/n1 and 2 more. "
        "`op_types_to_exclude: [LayerNormalization]` computes it in FP32; `accumulate: native` gives a bound and the "
        "price." in lines
    )
    figures = {"fidelity_bound_fp16": 41.0, "fidelity_bound_fp16_but_LayerNormalization": 52.25}
    metrics = {f"{name}/sqnr_db": value for name, value in figures.items()}
    (line,) = [line for line in unchecked(make_report(plan=plan, metrics=metrics)) if "LayerNormalization" in line]
    assert line.endswith("in FP32, which lifts the bound from 41.0 to 52.2 dB (simulated).")


def test_the_price_of_fp32_inside_stands_beside_what_it_gains(make_report):
    figures = {"fidelity_bound_fp16": 41.0, "fidelity_bound_fp16_but_attention": 52.25}
    metrics = {f"{name}/sqnr_db": value for name, value in figures.items()}
    metrics |= {"fusion/fp32_inside/attention/extra_kernels": 0, "fusion/fp32_inside/attention/extra_bytes": 1536}
    assert (
        "What the products of attention add up: an engine may round it to FP16. `upcast_attention: true` computes them "
        "in FP32, which lifts the bound from 41.0 to 52.2 dB (simulated) for +0 kernels and +1,536 bytes a batch "
        "(model of fusion)." in unchecked(make_report(metrics=metrics))
    )


def test_products_are_named_where_a_bound_was_measured_for_them(make_report):
    plan = make_report().plan
    plan = replace(plan, nodes=(replace(plan.nodes[0], id="graph/m", op_type="MatMul", precision=Precision.FP16),))
    metrics = {"fidelity_bound_fp16/sqnr_db": 41.0, "fidelity_bound_fp16_but_MatMul/sqnr_db": 50.0}
    (line,) = [each for each in unchecked(make_report(plan=plan, metrics=metrics)) if "MatMul" in each]
    assert line.startswith("What MatMul adds up inside: an engine may round it to 16 bits in graph/m.")


def test_an_engine_that_did_not_run_is_named_with_its_reason(make_report):
    lines = unchecked(make_report(validation=Validation("built", ("no NVIDIA driver",))))
    assert "TensorRT beyond depth 'built': no NVIDIA driver." in lines


def test_judges_metrics_are_rows_of_their_own_and_no_metrics_of_the_task(make_report):
    metrics = {
        "task/top1": 0.5,
        "task/boxes/lost": 3.0,
        "task/boxes/worst_batch/lost": 2.0,
        "task/boxes/map_ratio": 0.99,
    }
    report = make_report(metrics=metrics)
    assert report.task == {"task/top1": 0.5}
    rows = {row.name: row for row in judged(report.metrics)}
    assert list(rows) == ["boxes.lost", "boxes.map_ratio"]
    assert (rows["boxes.lost"].worst_batch, rows["boxes.lost"].better) == ("task/boxes/worst_batch/lost", "lower")
    assert (rows["boxes.map_ratio"].worst_batch, rows["boxes.map_ratio"].better) == (None, "higher")


def test_a_judge_with_labels_checks_the_task_and_one_without_does_not(make_report):
    unlabelled = make_report(metrics={"task/boxes/lost": 3.0})
    assert "Task accuracy: no labels were given." in unchecked(unlabelled)
    labelled = make_report(metrics={"task/boxes/lost": 3.0, "task/boxes/map": 0.4})
    assert "Task accuracy: no labels were given." not in unchecked(labelled)
