"""BF16 raises the opset to 22, at which ONNX Runtime's CPU provider has no kernel of some operators."""

import numpy as np
import onnx
import onnx.parser
import pytest

from autocast_core import ConversionConfig, Precision
from autocast_core.evaluate.metric_names import SIMULATION
from autocast_core.pipeline.convert import convert_in_memory
from autocast_core.pipeline.job import Job
from autocast_core.pipeline.stage import in_this_process, run_stages
from autocast_core.pipeline.stages.evaluate import EVALUATE, Evaluated
from autocast_core.plan import PrecisionPlan

X = np.random.default_rng(0).standard_normal((4, 1, 8, 8)).astype(np.float32)
BOXES = np.tile(np.array([[0, 0, 6, 6]], np.float32), (4, 1))
TEXTS = {
    "random numbers without a seed": "r = RandomNormalLike (c) y = Add (c, r)",
    "Bernoulli": "s = Sigmoid (c) y = Bernoulli (s)",
    "RoiAlign": "y = RoiAlign <output_height = 2, output_width = 2> (c, boxes, i)",
    "Multinomial": "f = Reshape (c, one) y = Multinomial <sample_size = 8> (f)",
}


@pytest.mark.parametrize("nodes", TEXTS.values(), ids=TEXTS)
def test_the_model_is_calibrated_and_evaluated(nodes):
    output = "int32[b,n] y" if "Multinomial" in nodes else "float[b,c,h,w] y"
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 17]> g (float[b,1,8,8] x, float[b,4] boxes) => '
        f"({output}) <float[1,1,1,1] w = {{2}}, int64[1] i = {{0}}, int64[2] one = {{1, -1}}> "
        f"{{ c = Conv (x, w) {nodes} }}"
    )
    job = Job(model, ConversionConfig(precision=Precision.BF16), {"x": X, "boxes": BOXES}, None)
    made = convert_in_memory(job)
    plan = made[PrecisionPlan]
    assert (plan.data.origin, plan.data.batches) == ("calibration", 4)
    evaluated = run_stages((EVALUATE,), in_this_process(job), made)[Evaluated]
    found = evaluated.fidelity[SIMULATION].worst
    assert found.rel_l2 < 0.05 or found.equal_share > 0.95
    assert evaluated.skipped == ("ONNX Runtime: its CPU provider has no BF16 kernels",)
