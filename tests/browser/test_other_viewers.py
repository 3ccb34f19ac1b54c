"""What a conversion leaves for Netron and Model Explorer, opened by these tools themselves.

Model Explorer is not part of the development environment: `uv run --group viewers pytest -m browser tests/browser`.
"""

import os
import re
import shutil
import signal
import subprocess
from contextlib import contextmanager
from dataclasses import replace

import onnx
import onnx_ir as ir
import pytest

from autocast_core.calibrate.statistics import Statistics, TensorStats
from autocast_core.config import Precision
from autocast_core.plan import NodeDecision, PrecisionPlan
from autocast_core.report.network import network
from autocast_core.report.viewers.model_explorer import node_data
from autocast_core.report.viewers.netron import annotated
from autocast_core.search.attribution import Attribution, NodeError
from flows.local.embedded_server import free_port
from tests.autocast_core.report.conftest import build_report
from tests.browser.conftest import SCRIPTS
from tests.waiting import answers

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]
PLAN = PrecisionPlan(
    Precision.FP16,
    "",
    "",
    (
        NodeDecision("graph/mul", "MatMul", Precision.FP16, "default"),
        NodeDecision("graph/act", "Relu", Precision.FP32, "io_range", reason="it reaches 70000"),
    ),
)
ATTRIBUTION = Attribution((NodeError("graph/mul", "MatMul", 0.01, 0.75),))


@pytest.fixture
def files(tmp_path):
    """A folder with a converted model without its weights, and node data."""
    proto = onnx.parser.parse_model(
        """
        <ir_version: 9, opset_import: ["" : 17]>
        net (float16[2,8] x) => (float16[2,64] y) { [mul] h = MatMul (x, w)  [act] y = Relu (h) }
        """
    )
    proto.graph.initializer.append(onnx.TensorProto(name="w", dims=(8, 64), data_type=10, raw_data=bytes(1024)))
    model = ir.serde.deserialize_model(proto)
    (tmp_path / "model.onnx").write_bytes(ir.to_proto(annotated(model, PLAN, ATTRIBUTION)).SerializeToString())
    measured = Statistics({"h": TensorStats(1, 0.0, 70_000.0)})
    report = replace(build_report(), plan=PLAN, attribution=ATTRIBUTION, statistics=measured)
    for stem, text in node_data(replace(report, network=network(model, model))).items():
        (tmp_path / f"{stem}.json").write_text(text)
    return tmp_path


@contextmanager
def served(folder, program, *words):
    """The address at which the tool serves, and its log; skips where the tool is not installed."""
    path = f"{SCRIPTS}{os.pathsep}{os.environ['PATH']}"
    found, port = shutil.which(program, path=path), free_port()
    if found is None:
        pytest.skip(f"no {program} to open files with: uv run --group viewers pytest -m browser tests/browser")
    log = folder / "server.log"
    with log.open("wb") as stream:
        server = subprocess.Popen(
            [found, *words, "--host", "127.0.0.1", "--port", str(port)],
            cwd=folder,
            env={**os.environ, "PATH": path, "PYTHONUNBUFFERED": "1"},
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
    try:
        address = f"http://127.0.0.1:{port}"
        assert answers(address), log.read_text()
        yield address, log
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def test_netron_shows_what_was_decided_of_a_node(window, files):
    with served(files, "netron", "model.onnx") as (address, _):
        page = window.page
        page.goto(address)
        page.get_by_text("Accept", exact=True).click()
        page.get_by_text("MatMul", exact=True).first.click()
        page.get_by_text("autocast.precision").or_(page.locator("input[value='autocast.precision']")).first.wait_for()
        window.show("netron")
        said = page.locator("#sidebar").inner_html()
        assert all(word in said for word in ("autocast.rule", "autocast.error_share", "75.000%"))


def test_model_explorer_shows_precision_error_and_range(window, files):
    overlays = ",".join(f"{stem}.json" for stem in ("precision", "error", "range"))
    words = ("--extensions", "model_explorer_onnx", "model.onnx", f"--node_data_paths={overlays}")
    with served(files, "model-explorer", *words, "--no_open_in_browser", "--skip_health_check") as (address, log):
        page = window.page
        page.goto(re.search(rf"{address}\S+", log.read_text()).group(0))
        page.locator("body", has_text="fp32").wait_for()
        window.show("model-explorer")
        shown = page.locator("body").inner_text()
        assert all(word in shown for word in ("precision", "share of the error", "largest magnitude", "0.75", "70000"))
