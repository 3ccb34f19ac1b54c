"""`autocast run` decides by measuring: what its simulation shows to be ruined is repaired, or refused and blamed."""

from pathlib import Path

import onnx
import pytest

from tests.flows.cli.conftest import autocast  # noqa: F401 - used as a fixture
from tests.flows.conversions import client, runs_of

pytestmark = pytest.mark.xdist_group("prefect")

RUINED = """
<ir_version: 9, opset_import: ["": 17]>
ruined (float[N, 8] x) => (float[N, 8] y) <float far = {1000}, float half = {0.5}>
{
    [shift] a = Add(x, far)
    [unshift] b = Sub(a, far)
    [scale] y = Mul(b, half)
}
"""
"""Its Add rounds to half units, which no rule sees: `data_max` and calibration are off."""
UNSEEN = {"data_max": 1e9, "nodes_to_include": (), "validation": "off"}


def ruined(path):
    onnx.save(onnx.parser.parse_model(RUINED), path)
    return path


def artifact(model, name):
    return Path(client().download_artifacts(runs_of(model)[0].info.run_id, name)).read_text(encoding="utf-8")
