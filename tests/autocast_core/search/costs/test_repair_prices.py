"""The price of FP32 inside nodes that may round there, beside the bound that it lifts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest

from autocast_core import ConversionConfig
from autocast_core.pipeline.artifacts import SanitizedSource
from autocast_core.pipeline.convert import planning_stages
from autocast_core.pipeline.job import Job
from autocast_core.pipeline.stage import in_this_process, run_stages
from autocast_core.pipeline.stages.apply import APPLY
from autocast_core.pipeline.stages.evaluate import EVALUATE, Evaluated
from autocast_core.pipeline.stages.load import LOAD
from autocast_core.plan import PrecisionPlan
from autocast_core.search.costs.repair_prices import repair_prices
from autocast_core.simulate import ATTENTION

CORE = """
<ir_version: 10, opset_import: ["" : 22]>
main (float[N,4,64,32] q, float[N,4,32,64] k, float[N,4,64,32] v) => (float[N,4,64,32] y)
<float[32] gain = {GAINS}, float[32, 32] w = {WEIGHTS}> {
  [query] a = Relu (q) [key] b = Relu (k) [value] c = Relu (v)
  [qk] s = MatMul (a, b) [soften] p = Softmax (s) [pv] o = MatMul (p, c) [norm] n = LayerNormalization (o, gain)
  [last] y = MatMul (n, w)
}
"""
WEIGHTS = ", ".join(f"{(7 * number % 31 - 15) / 32}" for number in range(32 * 32))


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> Evaluated:
    folder: Path = tmp_path_factory.mktemp("core")
    draw = np.random.default_rng(0).standard_normal
    arrays = {"q": (2, 4, 64, 32), "k": (2, 4, 32, 64), "v": (2, 4, 64, 32)}
    np.savez(folder / "d.npz", **{name: draw(shape).astype(np.float32) for name, shape in arrays.items()})
    text = CORE.replace("GAINS", ", ".join(["1"] * 32)).replace("WEIGHTS", WEIGHTS)
    onnx.save(onnx.parser.parse_model(text), folder / "m.onnx")
    config = ConversionConfig(accumulate="fp16", batch_size=2, nodes_to_include=(".*",))
    job = Job(folder / "m.onnx", config, folder / "d.npz", None)
    return run_stages((LOAD, *planning_stages(config), APPLY, EVALUATE), in_this_process(job))[Evaluated]


def test_what_rounds_inside_is_measured_one_by_one_and_attention_as_a_whole(found):
    bound = "fidelity_bound_fp16"
    spared = [name.removeprefix(f"{bound}_but_") for name in found.fidelity if name.startswith(f"{bound}_but_")]
    assert spared == ["LayerNormalization", "MatMul", "Softmax", "attention"]
    decibels = {name: found.metrics[f"{name}/sqnr_db"] for name in found.fidelity}
    assert decibels[f"{bound}_but_MatMul"] > decibels[bound]
    assert decibels[f"{bound}_but_attention"] >= decibels[bound]


def test_attention_that_is_one_operator_has_no_products_to_price():
    operator = onnx.parser.parse_model("""<ir_version: 11, opset_import: ["" : 23]>
        main (float[1,4,64,32] q, float[1,4,64,32] k, float[1,4,64,32] v) => (float[1,4,64,32] y)
        { [query] a = Relu (q) [core] y = Attention (a, k, v) }""")
    config = ConversionConfig(nodes_to_include=(".*",))
    made = run_stages((LOAD, *planning_stages(config)), in_this_process(Job(operator, config)))
    plan = made[PrecisionPlan]
    assert all(node.precision.is_low for node in plan.nodes)
    assert repair_prices(made[SanitizedSource].model, plan, {}, {ATTENTION}) == {
        "fusion/fp32_inside/attention/extra_kernels": 0,
        "fusion/fp32_inside/attention/extra_bytes": 0,
    }


def test_fp32_inside_costs_no_kernel_and_the_constants_in_fp32(found):
    prices = {name.removeprefix("fusion/fp32_inside/"): value for name, value in found.prices.items()}
    assert {value for name, value in prices.items() if name.endswith("/extra_kernels")} == {0}
    assert prices["attention/extra_bytes"] == 0
    assert prices["LayerNormalization/extra_bytes"] == 2 * 32
    assert prices["MatMul/extra_bytes"] >= 2 * 32 * 32
    assert found.metrics.items() >= found.prices.items()
