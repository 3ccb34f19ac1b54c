"""What the flow's own simulation shows to be ruined is never published, and said in one line."""

import numpy as np
import onnx
import pytest

from flows.conversion.result import GateMissedError
from tests.flows.cli.conftest import autocast  # noqa: F401 - used as a fixture
from tests.flows.conversions import batches, client, convert, mlp, registered, runs_of
from tests.hazards.nets import HAZARDS

pytestmark = pytest.mark.xdist_group("prefect")

NAN_WEIGHT = """
<ir_version: 9, opset_import: ["": 17]>
broken (float[N, 8] x) => (float[N, 8] y) <float[8] w = {1, 2, 3, 4, 5, 6, 7, nan}> { [scale] y = Mul(x, w) }
"""


def broken(path):
    onnx.save(onnx.parser.parse_model(NAN_WEIGHT), path)
    return path


def summary_of(model):
    run = runs_of(model)[0].info.run_id
    return open(client().download_artifacts(run, "summary.md"), encoding="utf-8").read()


def test_a_ruined_model_misses_the_default_gate_which_names_output_batch_and_node(workplace):
    hazard = HAZARDS["kelvin"]
    onnx.save(hazard.model(), workplace / "kelvin.onnx")
    data = batches(workplace / "d.npz", **hazard.samples(np.random.default_rng(1)))
    # The rules would save it: whoever includes a node overrides them, and is told what that ruins.
    with pytest.raises(GateMissedError) as caught:
        convert(
            workplace / "kelvin.onnx",
            calibration=data,
            validation="off",
            output=workplace / "out.onnx",
            nodes_to_include=(".*",),
        )
    said = str(caught.value)
    assert "worst_batch.sqnr_db>=40 fidelity/worst_batch/sqnr_db is" in said and "(output 'y', batch" in said
    assert "100% of the error comes from Sub 'graph/subtract'" in said
    assert registered("kelvin-fp16") == [] and not (workplace / "out.onnx").exists()
    assert "Fails 1 of 2 gates" in summary_of(workplace / "kelvin.onnx")


def test_gates_in_the_spec_are_the_gates(workplace):
    hazard = HAZARDS["kelvin"]
    onnx.save(hazard.model(), workplace / "relaxed.onnx")
    data = batches(workplace / "d.npz", **hazard.samples(np.random.default_rng(1)))
    result = convert(workplace / "relaxed.onnx", calibration=data, validation="off", gates=("no_new_nonfinite",))
    assert [gate.expression for gate in result.gates] == ["no_new_nonfinite"] and result.registered


def test_nan_in_data_is_bad_input_and_names_file_batch_and_input(workplace, autocast):  # noqa: F811
    x = np.ones((6, 8), "f4")
    x[4, 2] = np.nan
    data = batches(workplace / "nan.npz", x=x)
    ended = autocast("run", mlp(workplace / "m.onnx"), "--calibration", data)
    assert ended.code == 2
    assert ended.errors == [
        f"error: {data}, batch 4: input 'x' holds 1 NaN or infinite values, the first at [0, 2]; repair the data, or"
        " set allow_nonfinite: true in the spec"
    ]


def test_a_nan_weight_misses_a_gate_whatever_the_gates_are_and_heads_the_summary(workplace, autocast):  # noqa: F811
    (workplace / "spec.yaml").write_text("gates: ['rel_l2<=1']\nvalidation: off\n")
    model, data = broken(workplace / "broken.onnx"), batches(workplace / "d.npz")
    ended = autocast("run", model, "--calibration", data, "--spec", workplace / "spec.yaml")
    assert ended.code == 3 and "no_nonfinite weight 'w' holds 1 NaN or infinite values" in ended.errors[0]
    assert "warning: weight 'w' holds 1 NaN or infinite values" in ended.err
    head = summary_of(model).partition("## ")[0]
    assert "**Weight 'w' holds 1 NaN or infinite values.**" in head
    assert "**The FP32 model itself gives 6 NaN or infinite values: output 'y', first in batch 0 of 6.**" in head


def test_nothing_converted_is_a_warning_on_the_terminal_and_heads_the_summary(workplace, autocast):  # noqa: F811
    (workplace / "spec.yaml").write_text("op_types_to_exclude: [MatMul, Relu]\nvalidation: off\n")
    model, data = mlp(workplace / "kept.onnx"), batches(workplace / "d.npz")
    ended = autocast("run", model, "--calibration", data, "--spec", workplace / "spec.yaml")
    assert ended.code == 0
    line = "nothing was converted: every float node (3) stays in FP32, most often by rule op_type (3)"
    assert f"warning: {line}" in ended.out
    assert "**Nothing was converted: every float node (3) stays in FP32" in summary_of(model).partition("## ")[0]


def test_a_promotion_checks_the_default_gates_again(workplace, autocast):  # noqa: F811
    convert(mlp(workplace / "good.onnx"), calibration=batches(workplace / "d.npz"), validation="off")
    ended = autocast("promote", "models:/good-fp16/1", "--alias", "champion", "--json")
    assert ended.code == 0
    assert {gate["expression"]: gate["passed"] for gate in ended.json["gates"]} == {
        "worst_batch.sqnr_db>=40": True,
        "no_new_nonfinite": True,
        "autocast.gate": True,
    }
