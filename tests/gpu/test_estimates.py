"""What the comparison of estimates with measured times needs, without a GPU."""

from __future__ import annotations

import pytest

from autocast_core.engine.devices import devices
from autocast_core.engine.validation import FP32, MIXED, Execution, Spread, Validation
from autocast_core.engine.view import EngineView, Kernel
from tests.gpu.estimates import _rows, known_device, rank_correlation


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA H200", "h200"),
        ("NVIDIA A100-SXM4-80GB", "a100"),
        ("NVIDIA A10", "a10"),
        ("NVIDIA L4", "l4"),
        ("NVIDIA L40S", "l40s"),
        ("Tesla T4", "t4"),
        ("NVIDIA GeForce RTX 4090", "rtx4090"),
        ("Orin", "orin"),
    ],
)
def test_a_device_is_known_by_the_drivers_name(name, key):
    device = known_device(name)
    assert device is not None
    assert device.key == key


@pytest.mark.parametrize("name", ["NVIDIA A10G", "NVIDIA B200", "NVIDIA RTX PRO 5000"])
def test_other_devices_are_not_taken_for_known_ones(name):
    assert known_device(name) is None


def test_ranks_correlate_whatever_the_scale_and_ties_share_a_rank():
    assert rank_correlation([1, 2, 3], [10, 1000, 1001]) == pytest.approx(1)
    assert rank_correlation([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)
    # Ranks 0, 1.5, 1.5, 3 against 0, 1, 2, 3.
    assert rank_correlation([1, 2, 2, 3], [1, 2, 3, 4]) == pytest.approx(0.948683298)


def test_each_engine_that_ran_is_a_row_with_its_estimate_beside_its_time():
    view = EngineView((Kernel("a", "kgen", (), ("float16",), ("float16",), 300_000, 0),), described_by="inspector")
    ran = Execution("NVIDIA L4", "8.9", "", "", 1, latency_ms={MIXED: Spread(2, 2, 2, 1), FP32: Spread(3, 3, 3, 1)})
    found = Validation("executed", engine_view=view, fp32_view=view, execution=ran).estimated_on(devices()["l4"])
    rows = [(each["engine"], each["measured_ms"], round(each["estimated_ms"], 6)) for each in _rows("m", "ours", found)]
    assert rows == [("ours", 2, 0.004), ("FP32 beside ours", 3, 0.004)]
