"""A measured decision repairs what its simulation shows to be ruined, releases what gains nothing, and no more."""

from dataclasses import replace

import numpy as np
import onnx
import pytest

from autocast_core import ConversionConfig, Precision, convert_file
from autocast_core.__main__ import command
from autocast_core.evaluate import AskedGates
from autocast_core.pipeline.convert import convert_in_memory
from autocast_core.pipeline.job import Job
from autocast_core.pipeline.outcome.missed_target import MissedTargetError
from autocast_core.pipeline.stages.evaluate import Evaluated
from autocast_core.plan import PrecisionPlan, WeightChange

RUINED = """
<ir_version: 9, opset_import: ["": 17]>
ruined (float[N, 8] x, float[N, 1] gain) => (float[N, 8] y) <float zero = {93.15}>
{
    [subtract] d = Sub(x, zero)
    [scale] y = Mul(d, gain)
}
"""
"""One batch of `data` cancels in it, which statistics of whole tensors do not show."""
HARMLESS = """
<ir_version: 9, opset_import: ["": 17]>
harmless (float[N, 8] x) => (float[N, 8] y) <float zero = {93.15}, float little = {0.01}>
{
    [before] b = Neg(x)
    [cancel] d = Add(b, zero)
    [shrink] e = Mul(d, little)
    [join] f = Add(e, x)
    [behind] y = Neg(f)
}
"""
"""What cancels in it is added to what is much larger."""

BEYOND = """
<ir_version: 9, opset_import: ["": 17]>
beyond (float[N, 8] x) => (float[N, 8] y) <float large = {90000.0}>
{
    [before] b = Tanh(x)
    [scale] d = Mul(b, large)
    [behind] y = Tanh(d)
}
"""
"""A weight that FP16 does not hold."""


def data(seed=0, gain=100.0):
    """24 rows; in the last eight x is near 93.15."""
    rng = np.random.default_rng(seed)
    x = rng.normal(0.0, 50.0, (24, 8)).astype("f4")
    x[16:] = 93.15 + rng.normal(0.0, 0.05, (8, 8))
    gains = np.ones((24, 1), "f4")
    gains[16:] = gain
    return {"x": x, "gain": gains}


def source(folder, text=RUINED):
    onnx.save(onnx.parser.parse_model(text), folder / "m.onnx")
    return folder / "m.onnx"


def converted(folder, text=RUINED, calibration=None, **options):
    config = ConversionConfig(**{"decide": "measured", "batch_size": 8, **options})
    return convert_file(source(folder, text), folder / "out.onnx", config, calibration=calibration or data())


def rules(plan):
    return {each.id.removeprefix("graph/"): each.rule for each in plan.nodes}


def test_a_plan_that_its_simulation_shows_to_be_ruined_is_repaired_with_the_evidence(tmp_path):
    plan = converted(tmp_path).plan
    assert rules(plan) == {"subtract": "repair", "scale": "default"}
    node = plan.by_id()["graph/subtract"]
    assert node.precision is Precision.FP32
    assert node.reason.startswith("kept to reach worst_batch.sqnr_db>=40 (fidelity/worst_batch/sqnr_db is ")
    assert "dB before and" in node.reason
    details = [each.detail for each in node.evidence]
    assert details[0].endswith("of the error of the rules' plan enters here")
    assert details[1].startswith("lowered again: worst_batch.sqnr_db>=40 fails (fidelity/worst_batch/sqnr_db is ")
    record = plan.data.repair
    assert (record.met, record.kept, record.released, record.stopped) == (True, ("graph/subtract",), (), None)
    assert record.sqnr_db_before < 40 < 60 < record.sqnr_db_after
    assert 1 <= record.evaluations <= 12 and record.digest == plan.data.digest
    assert PrecisionPlan.from_json(plan.to_json()) == plan


def test_thresholds_decide_as_autocast_does(tmp_path):
    plan = converted(tmp_path, decide="thresholds").plan
    assert rules(plan) == {"subtract": "default", "scale": "default"}
    assert "repair" not in plan.to_json()


def test_a_model_that_needs_no_repair_is_measured_once(tmp_path):
    stages = []
    config = ConversionConfig(decide="measured", batch_size=8)
    convert_file(
        source(tmp_path),
        tmp_path / "out.onnx",
        config,
        calibration=data(gain=1.0),
        progress=lambda at: stages.append(at.stage) if not stages or stages[-1] != at.stage else None,
    )
    assert "repair" not in stages and stages.count("evaluate") == 1


def test_a_target_that_no_plan_reaches_names_the_node_and_hands_out_the_plan(tmp_path):
    with pytest.raises(MissedTargetError, match=r"misses worst_batch\.sqnr_db>=40 .*error comes from Sub") as caught:
        converted(tmp_path, nodes_to_include=("subtract",))
    assert not (tmp_path / "out.onnx").exists()
    record = caught.value.plan.data.repair
    assert (record.met, record.kept) == (False, ())
    assert rules(caught.value.plan)["subtract"] == "include"


def test_what_brings_a_target_nearer_is_kept_even_where_none_is_reached(tmp_path):
    two = RUINED.replace("[scale] y = Mul(d, gain)", "[scale] e = Mul(d, gain)\n [shift] f = Add(e, far)\n"
                         " [unshift] y = Sub(f, far)").replace("{93.15}", "{93.15}, float far = {1000}")  # fmt: skip
    with pytest.raises(MissedTargetError) as caught:
        converted(tmp_path, two, nodes_to_include=("shift", "unshift"), data_max=1e6)
    record = caught.value.plan.data.repair
    assert (record.met, record.kept) == (False, ("graph/subtract",))
    assert record.sqnr_db_before + 20 < record.sqnr_db_after < 40


def test_fp32_throughout_is_no_plan(tmp_path):
    job = Job(source(tmp_path), ConversionConfig(decide="measured", batch_size=8), data(gain=1.0))
    plan = convert_in_memory(replace(job, gates=AskedGates(("sqnr_db>=100",))))[PrecisionPlan]
    record = plan.data.repair
    assert (record.met, record.stopped) == (False, "only FP32 throughout meets the target")
    assert rules(plan) == {"subtract": "repair", "scale": "default"} and record.sqnr_db_after > record.sqnr_db_before


def test_no_evaluations_mean_no_repair(tmp_path):
    with pytest.raises(MissedTargetError, match="error comes from Sub 'graph/subtract'") as caught:
        converted(tmp_path, repair_evaluations=0)
    assert "repair" not in caught.value.plan.to_json()


def test_one_evaluation_is_enough_where_the_error_is_in_one_place(tmp_path):
    record = converted(tmp_path, repair_evaluations=1).plan.data.repair
    assert (record.met, record.evaluations, record.kept) == (True, 1, ("graph/subtract",))


def test_a_repair_looks_at_calibration_data_and_the_gates_at_evaluation_data(tmp_path):
    calibration, evaluation = data(1), data(2)
    config = ConversionConfig(decide="measured", batch_size=8)
    made = convert_in_memory(Job(source(tmp_path), config, calibration, evaluation))
    record, evaluated = made[PrecisionPlan].data.repair, made[Evaluated]
    assert record.digest == made[PrecisionPlan].data.digest != evaluated.digest
    assert evaluated.data == "evaluation" and evaluated.metrics["fidelity/worst_batch/sqnr_db"] > 60


def test_calibration_data_that_does_better_must_do_better_still(tmp_path):
    """The limit moves by as much as the evaluation data is worse."""
    config = ConversionConfig(decide="measured", batch_size=8)
    made = convert_in_memory(Job(source(tmp_path), config, data(1, gain=30.0), data(2)))
    (target, _) = made[PrecisionPlan].data.repair.target
    assert float(target.partition(">=")[2]) > 40
    assert made[Evaluated].metrics["fidelity/worst_batch/sqnr_db"] > 60


def near_zero_point():
    return {"x": (93.15 + np.random.default_rng(0).normal(0.0, 0.05, (24, 8))).astype("f4")}


def test_nodes_kept_for_nothing_are_released(tmp_path):
    plan = converted(tmp_path, HARMLESS, near_zero_point()).plan
    kept = converted(tmp_path, HARMLESS, near_zero_point(), decide="thresholds").plan
    assert {node for node, rule in rules(kept).items() if rule == "conditioning"} == {"before", "cancel"}
    assert {node for node, rule in rules(plan).items() if rule == "release"} == {"before", "cancel"}
    assert plan.by_id()["graph/cancel"].reason.startswith("rule conditioning kept it for nothing, ")
    record = plan.data.repair
    assert record.released == ("graph/before", "graph/cancel") and record.kept == ()
    assert record.sqnr_db_after > record.sqnr_db_before - 0.1


def test_a_repaired_plan_says_of_weights_what_its_own_decisions_do(tmp_path):
    small = {"x": np.random.default_rng(0).normal(0.0, 1e-5, (24, 8)).astype("f4")}
    options = {"init_max": float("inf"), "small_values": False}
    lowered = converted(tmp_path, BEYOND, small, decide="thresholds", **options).plan
    assert lowered.weights == (WeightChange("large", clamped=1),)
    assert [warning.split()[:2] for warning in lowered.warnings] == [["weight", "'large'"]]
    repaired = converted(tmp_path, BEYOND, small, **options).plan
    assert rules(repaired)["scale"] == "repair"
    assert repaired.weights == () and repaired.warnings == ()


def test_nodes_that_cost_no_cast_are_not_measured(tmp_path):
    """The whole net is FP32, and so are its input and its output."""
    net = """<ir_version: 9, opset_import: ["": 17]>
        lone (float[N, 8] x) => (float[N, 8] y) <float zero = {93.15}> { [cancel] y = Sub(x, zero) }"""
    heard = []
    plan = convert_file(
        source(tmp_path, net),
        tmp_path / "out.onnx",
        ConversionConfig(decide="measured", batch_size=8),
        calibration=near_zero_point(),
        progress=lambda at: heard.append((at.stage, at.unit)),
    ).plan
    assert rules(plan) == {"cancel": "conditioning"} and "repair" not in plan.to_json()
    assert ("repair", "") in heard and ("repair", "evaluations") not in heard


def test_user_and_range_are_never_overruled_by_a_measurement(tmp_path):
    plan = converted(tmp_path, HARMLESS, near_zero_point(), nodes_to_exclude=("cancel",)).plan
    assert rules(plan)["cancel"] == "node_name"
    plan = converted(tmp_path, RUINED, data(gain=1.0), data_max=10.0).plan
    assert rules(plan) == {"subtract": "io_range", "scale": "io_range"}


def test_the_command_measures_where_it_is_asked_to(tmp_path, capsys):
    np.savez(tmp_path / "d.npz", **data())
    given = ["--onnx_path", str(source(tmp_path)), "-d", str(tmp_path / "d.npz"), "--output_path"]
    # A batch has one row here.
    assert command([*given, str(tmp_path / "a.onnx"), "--decide", "measured"]) == 0
    ended = command(
        [*given, str(tmp_path / "b.onnx"), "--decide", "measured", "--repair_evaluations", "0",
         "--save_plan", str(tmp_path / "plan.json")]
    )  # fmt: skip
    said = capsys.readouterr().err
    # The ruined batches are the last ones of 24.
    assert ended == 3 and "error: the simulated model misses" in said and "comes from Sub 'graph/subtract'" in said
    assert (tmp_path / "plan.json").exists() and not (tmp_path / "b.onnx").exists()
