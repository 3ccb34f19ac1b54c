from __future__ import annotations

import json
from dataclasses import asdict

from autocast_core.engine.validation import Validation
from autocast_core.engine.view import EngineView, Kernel


def kernel(name: str, read: int | None, written: int | None, **facts: bool) -> Kernel:
    return Kernel(name, "kgen", (f"graph/{name}",), ("float16",), ("float",), read, written, **facts)


VIEW = EngineView(
    (kernel("a", 10, 1), kernel("cast", 20, 2, only_moves=True), kernel("core", 30, 3, fused_attention=True)),
    attention_found=2,
    without_kernel={"graph/shape": "constant"},
)


def test_metrics_count_kernels_attention_and_bytes():
    assert VIEW.metrics() == {
        "engine/kernels": 3,
        "engine/cast_kernels": 1,
        "engine/attention/found": 2,
        "engine/attention/fused": 1,
        "engine/traffic_bytes": 66,
        "engine/cast_bytes": 22,
    }


def test_bytes_that_are_not_known_are_no_metric():
    view = EngineView((kernel("a", None, 1), kernel("cast", 20, 2, only_moves=True)))
    assert "engine/traffic_bytes" not in view.metrics()
    assert view.metrics()["engine/cast_bytes"] == 22


def test_a_view_is_the_same_after_json():
    assert EngineView.from_json(json.loads(json.dumps(asdict(VIEW)))) == VIEW


def test_a_validation_keeps_its_view_in_json_and_adds_its_metrics():
    found = Validation("built", engine_view=VIEW)
    assert Validation.from_json(json.loads(json.dumps(found.to_json()))) == found
    assert found.metrics() == {"tensorrt/depth": 2, **VIEW.metrics()}


def test_a_validation_that_was_written_before_there_were_views_is_read():
    old = Validation("parsed").to_json()
    del old["engine_view"]
    assert Validation.from_json(old) == Validation("parsed")
