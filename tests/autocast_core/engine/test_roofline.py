"""The estimate of an engine's time, computed by hand for a few kernels."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest

from autocast_core.engine.build_log import read
from autocast_core.engine.devices import DEFAULT_DEVICE, DeviceFigures, devices
from autocast_core.engine.roofline import Estimate, estimated, kernel_seconds
from autocast_core.engine.validation import Validation
from autocast_core.engine.view import EngineView, Kernel
from tests.autocast_core.engine.test_build_log import recorded

DEVICE = DeviceFigures("d", "Device", 1e9, {"float": 1e12, "float16": 1e13}, 1e-6, "its data sheet")
"""1 GB/s; 1 and 10 TFLOP/s; 1 µs a launch."""
COPY = Kernel("copy", "copy", (), ("float16",), ("float16",), 1000, 1000)
PRODUCT = Kernel("product", "gemm", (), ("float16",), ("float",), 1000, 0, 10**8, operand_type="float16")


def ms(*kernels: Kernel) -> float:
    found = estimated(EngineView(kernels), DEVICE)
    assert isinstance(found, Estimate)
    return found.ms


def test_a_kernel_takes_what_its_bytes_or_its_operations_take_and_a_launch():
    assert ms(COPY) == pytest.approx(2e-3 + 1e-3)
    assert ms(PRODUCT) == pytest.approx(1e-2 + 1e-3)
    assert kernel_seconds(PRODUCT, DEVICE) == pytest.approx(11e-6)


def test_operations_are_those_of_the_operands_type():
    assert ms(replace(PRODUCT, operand_type="float")) == pytest.approx(1e-1 + 1e-3)


def test_kernels_of_a_stream_follow_each_other():
    assert ms(COPY, COPY, PRODUCT) == pytest.approx(3 * 1e-3 + 2 * 2e-3 + 1e-2)


def test_streams_overlap_but_share_the_memory_and_the_units():
    other = replace(COPY, stream=1)
    assert ms(COPY, PRODUCT, other) == pytest.approx(2e-3 + 1e-2 + 2e-3)
    wide = replace(COPY, read_bytes=10_000, written_bytes=0)
    assert ms(wide, replace(wide, stream=1)) == pytest.approx(2e-2)
    assert ms(PRODUCT, replace(PRODUCT, stream=1)) == pytest.approx(2e-2)


def test_the_parts_say_what_holds_kernels_up():
    found = estimated(EngineView((COPY, PRODUCT)), DEVICE)
    assert isinstance(found, Estimate)
    assert [found.memory_ms, found.compute_ms, found.launch_ms] == pytest.approx([2e-3, 1e-2, 2e-3])
    assert (found.device, found.name, found.source) == ("d", "Device", "its data sheet")


def test_an_engine_without_kernels_takes_no_time():
    assert ms() == 0


@pytest.mark.parametrize(
    ("kernel", "reason"),
    [
        (replace(COPY, read_bytes=None), "the size of what kernel copy reads and writes is known at run time only"),
        (replace(PRODUCT, operand_type="bfloat16"), "Device has no rate for products of bfloat16 (product)"),
        (replace(PRODUCT, operand_type=""), "Device has no rate for products of unknown types (product)"),
    ],
)
def test_what_cannot_be_estimated_is_said(kernel, reason):
    assert estimated(EngineView((COPY, kernel)), DEVICE) == reason
    assert kernel_seconds(kernel, DEVICE) is None


def test_every_device_has_a_name_figures_and_a_source():
    assert set(devices()) == {"h100", "h200", "a100", "l40s", "l4", "a10", "t4", "rtx4090", "rtx5090", "orin"}
    for key, device in devices().items():
        assert (device.key, bool(device.name), bool(device.source), device.launch) == (key, True, True, 3e-6)
        # No device moves less than 100 GB/s or more than 10 TB/s; halving the operands' bits never slows it down.
        assert 1e11 < device.bandwidth < 1e13
        assert device.rates["float"] < device.rates["float16"] <= device.rates["int8"]
    assert DEFAULT_DEVICE in devices()
    assert "bfloat16" not in devices()["t4"].rates


def test_a_recorded_engine_is_faster_on_the_faster_device():
    view = EngineView(read(recorded("gpt2")).kernels)
    found = {key: estimated(view, device) for key, device in devices().items()}
    times = {key: each.ms for key, each in found.items() if isinstance(each, Estimate)}
    assert set(times) == set(devices())
    # 58.8 MB and 4.48 GFLOP of FP16 in 23 kernels.
    assert times["l4"] > 58_843_552 / 300e9 * 1e3
    assert times["h200"] < times["h100"] < times["a100"] < times["a10"] < times["l4"] < times["orin"]
    assert times["h100"] > 23 * 3e-3


def test_a_validation_has_estimates_of_both_engines_or_says_why_not():
    found = Validation("built", engine_view=EngineView((PRODUCT,)), fp32_view=EngineView((COPY,))).estimated_on(DEVICE)
    assert found.metrics()["engine/estimated_ms/d"] == pytest.approx(1.1e-2)
    assert found.metrics()["engine/fp32/estimated_ms/d"] == pytest.approx(3e-3)
    assert found.metrics()["engine/fp32/kernels"] == 1
    assert Validation.from_json(found.to_json()) == found
    unknown = Validation("built", engine_view=EngineView((replace(COPY, read_bytes=None),))).estimated_on(DEVICE)
    assert unknown.estimates == {}
    assert unknown.skipped == (
        "estimate of the mixed engine's time: the size of what kernel copy reads and writes is known at run time only",
    )
    assert Validation("parsed").estimated_on(DEVICE) == Validation("parsed")


def test_an_estimate_is_plain_values():
    found = estimated(EngineView((COPY,)), DEVICE)
    assert isinstance(found, Estimate)
    assert Estimate(**asdict(found)) == found
