"""The figures of the first screen: which there are, how they relate, and what measured them."""

import pytest

from autocast_core.engine.validation import Validation
from autocast_core.engine.view import EngineView
from autocast_core.report.decision.gains import Gain, gains
from autocast_core.report.figures.engine_section import engine_section
from tests.autocast_core.report.figures.test_engine_section import CAST, validation


def test_without_an_engine_there_are_size_and_accuracy(make_report):
    assert gains(make_report(), None) == (
        Gain("Size", "248.02 kB", "126.00 kB", "", "−49%", "", "model/bytes_after"),
        Gain("Worst output", "exact", "66.25", " dB SQNR", "", "simulation on onnxruntime-cpu", "fidelity/sqnr_db"),
    )


def test_an_engine_adds_its_estimated_time_its_kernels_and_fused_attention(make_report):
    found = validation()
    report = make_report(validation=found, metrics=found.metrics())
    shown = {
        gain.name: (gain.before, gain.after + gain.unit, gain.change) for gain in gains(report, engine_section(found))
    }
    assert list(shown) == ["Size", "Estimated time on l4", "Kernels", "Fused attention", "Worst output"]
    assert shown["Estimated time on l4"] == ("0.06967 ms", "0.04233 ms", "−39%")
    assert shown["Kernels"] == ("1", "3", "+200%")
    assert shown["Fused attention"] == ("0", "1", "")


def test_a_measured_latency_stands_in_the_place_of_the_estimate(make_report):
    found = validation()
    latencies = {"tensorrt/latency_ms/fp32": 2.0, "tensorrt/latency_ms/mixed": 1.0}
    report = make_report(validation=found, metrics={**found.metrics(), **latencies})
    names = {gain.name: gain.change for gain in gains(report, engine_section(found))}
    assert names["Latency"] == "−50%"
    assert not any(name.startswith("Estimated") for name in names)


@pytest.mark.parametrize(("found", "is_shown"), [(0, False), (2, True)])
def test_fused_attention_stands_only_where_there_is_attention(make_report, found, is_shown):
    validated = Validation("built", engine_view=EngineView((CAST,), attention_found=found))
    report = make_report(validation=validated, metrics=validated.metrics())
    names = [gain.name for gain in gains(report, engine_section(validated))]
    assert ("Fused attention" in names) is is_shown
