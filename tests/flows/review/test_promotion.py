"""Promotion checks the gates of the outputs that they name, whatever those are called in metrics."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest

from flows.local.home import home
from tests.flows.conversions import batches, client, convert, working_in

pytestmark = pytest.mark.xdist_group("prefect")

LONG = "n" * 300
"""An output's name in metrics has at most 200 letters."""


@pytest.fixture(scope="module")
def run_id(services, tmp_path_factory) -> Iterator[str]:
    """A conversion with gates on two outputs of one name in metrics, but for a number, and on one of a cut name."""
    folder: Path = tmp_path_factory.mktemp("promoted")
    model = onnx.parser.parse_model("""<ir_version: 9, opset_import: ["": 17]>
        g (float[N, 8] x) => (float[N, 8] slash, float[N, 8] dot, float[N, 8] long) <float[8, 8] w> {
            slash = MatMul(x, w)
            dot = Relu(slash)
            long = Tanh(slash)
        }""")
    weight = np.random.default_rng(0).normal(size=(8, 8)).astype(np.float32)
    del model.graph.initializer[:]
    model.graph.initializer.append(onnx.numpy_helper.from_array(weight, "w"))
    renamed = {"slash": "a/b", "dot": "a.b", "long": LONG}
    for node in model.graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]
    for output in model.graph.output:
        output.name = renamed[output.name]
    onnx.save(model, folder / "net.onnx")
    with working_in(folder):
        gates = ("a.b.rel_l2<=5e-3", f"{LONG}.rel_l2<=5e-3")
        data = batches(folder / "data.npz", x=np.random.default_rng(1).normal(size=(6, 8)).astype("f4"))
        result = convert(folder / "net.onnx", calibration=data, gates=gates, name="promoted")
        yield result.run_id


def test_a_gate_on_an_output_whose_name_in_metrics_is_cut_holds_again(workplace, run_id) -> None:
    from flows.review.promotion import promote

    promoted = promote("models:/promoted/1", "cut", home())
    assert {gate.expression: gate.passed for gate in promoted.gates}[f"{LONG}.rel_l2<=5e-3"] is True


def test_a_gate_is_checked_on_its_own_output_where_names_in_metrics_are_numbered(workplace, run_id) -> None:
    from flows.review.promotion import PromotionRefusedError, promote

    measured = client().get_run(run_id).data.metrics["fidelity/outputs/a_b_2/rel_l2"]
    client().log_metric(run_id, "fidelity/outputs/a_b_2/rel_l2", 0.5)
    try:
        with pytest.raises(PromotionRefusedError, match=r"fidelity/outputs/a_b_2/rel_l2 is 0\.5"):
            promote("models:/promoted/1", "numbered", home())
    finally:
        client().log_metric(run_id, "fidelity/outputs/a_b_2/rel_l2", measured)
