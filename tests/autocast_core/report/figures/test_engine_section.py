"""The section on the engine: figures beside FP32's, strips of kernels on one scale, the costliest kernels."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from autocast_core.engine.devices import devices
from autocast_core.engine.validation import Validation
from autocast_core.engine.view import EngineView, Kernel
from autocast_core.report.figures.engine_section import engine_section, type_class
from autocast_core.report.pages.report_page import page
from autocast_core.report.summary import summary

PRODUCT = Kernel(
    "product", "gemm", ("graph/p",), ("float16", "float16"), ("float16",), 3_000_000, 1_000_000, 10**6, 0, False, False
)
PRODUCT = replace(PRODUCT, operand_type="float16")
CORE = replace(PRODUCT, name="_gemm_mha_v2", nodes=tuple(f"graph/{n}" for n in "qkspv"), fused_attention=True)
CAST = Kernel("cast", "kgen", (), ("float16",), ("float",), 500_000, 1_500_000, only_moves=True)
WIDE = replace(PRODUCT, nodes=("graph/p",), reads=("float", "float"), writes=("float",), operand_type="float")
MIXED_VIEW = EngineView((PRODUCT, CORE, CAST), attention_found=2)
FP32_VIEW = EngineView((replace(WIDE, read_bytes=9_000_000, written_bytes=11_000_000),))


def validation(fp32: EngineView | None = FP32_VIEW) -> Validation:
    found = Validation("built", engine_view=MIXED_VIEW, fp32_view=fp32, package="tensorrt_rtx 1.7")
    return found.estimated_on(devices()["l4"])


def test_without_an_engine_there_is_no_section():
    assert engine_section(Validation("parsed")) is None


def test_figures_stand_beside_those_of_the_fp32_engine():
    rows = {each.metric: (each.fp32, each.mixed) for each in engine_section(validation()).figures}
    assert rows["engine/kernels"] == ("1", "3")
    assert rows["engine/cast_kernels"] == ("0", "1")
    assert rows["engine/attention/found"] == ("0", "2")
    assert rows["engine/attention/fused"] == ("0", "1")
    assert rows["engine/traffic_bytes"] == ("20.00 MB", "10.00 MB")
    assert rows["engine/cast_bytes"] == ("0 B", "2.00 MB")
    # 20 MB at 300 GB/s and 3 µs; 10 MB and three launches.
    assert rows["engine/estimated_ms/l4"] == ("0.06967", "0.04233")


def test_without_an_fp32_engine_its_column_has_dashes():
    section = engine_section(validation(None))
    assert {each.fp32 for each in section.figures} == {"–"}
    assert [each.name for each in section.strips] == ["mixed engine"]


def test_strips_have_one_scale_and_the_longest_fills_the_width():
    fp32, mixed = engine_section(validation()).strips
    assert (fp32.name, fp32.length) == ("FP32 engine", "1 kernel, 69.67 µs")
    assert [each.width for each in fp32.bars] == [900]
    assert sum(each.width for each in mixed.bars) == pytest.approx(900 * 0.04233 / 0.06967, abs=0.1)
    assert [each.x for each in mixed.bars] == pytest.approx(
        [0, mixed.bars[0].width, mixed.bars[0].width + mixed.bars[1].width], abs=0.02
    )
    assert [each.attention for each in mixed.bars] == [False, True, False]
    assert mixed.bars[1].text == "graph/q, graph/k, graph/s and 2 more: float16 to float16, 16.33 µs"
    assert mixed.bars[2].text.startswith("cast: float16 to float, ")


def test_without_an_estimate_widths_are_bytes():
    section = engine_section(Validation("built", engine_view=MIXED_VIEW))
    assert section.unit == "bytes"
    assert [each.width for each in section.strips[0].bars] == [360, 360, 180]
    assert section.strips[0].length == "3 kernels, 10.00 MB"
    assert {each.microseconds for each in section.costliest} == {"–"}


def test_sizes_that_only_the_run_decides_are_drawn_without_width():
    section = engine_section(Validation("built", engine_view=EngineView((replace(PRODUCT, read_bytes=None),))))
    assert [each.width for each in section.strips[0].bars] == [0]
    assert [each.traffic for each in section.costliest] == ["–"]


def test_neighbours_share_a_bar_where_there_are_too_many():
    section = engine_section(Validation("built", engine_view=EngineView((PRODUCT,) * 2000)))
    bars = section.strips[0].bars
    assert len(bars) == 667
    assert bars[0].text == "graph/p and 2 more: float16 to float16, 12.00 MB"


def test_classes_go_by_what_crosses_kernels():
    assert type_class(PRODUCT) == "low"
    assert type_class(WIDE) == "fp32"
    assert type_class(replace(PRODUCT, writes=("float",))) == "fp32"
    assert type_class(replace(PRODUCT, reads=("float", "float16"))) == "low"
    assert type_class(CAST) == type_class(replace(PRODUCT, reads=("int64",), writes=("bool",))) == "none"


def test_the_costliest_kernels_come_first():
    section = engine_section(validation())
    assert [each.name for each in section.costliest] == ["product", "_gemm_mha_v2", "cast"]
    assert (section.costliest[1].nodes, section.costliest[1].more) == (("graph/q", "graph/k", "graph/s"), 2)


def test_the_page_draws_both_engines_and_says_that_times_are_estimates(make_report):
    text = page(make_report(validation=validation()))
    assert len(re.findall(r'<rect class="(?:low|fp32|none)"', text)) == 4
    assert text.count('<rect class="attention"') == 1
    assert 'aria-label="Kernels of the engine by estimated time. FP32 engine: 1 kernel,' in text
    assert "Times are estimates for NVIDIA L4 24 GB by a roofline" in text
    assert "NVIDIA L4 Tensor Core GPU data sheet" in text
    assert "<script" not in text[text.index('id="kernels"') : text.index('id="made"')]


def test_names_of_kernels_are_text(make_report):
    hostile = replace(PRODUCT, name="<b>\u202e", nodes=("<script>alert(1)</script>",))
    text = page(make_report(validation=Validation("built", engine_view=EngineView((hostile,)))))
    assert "<script>alert(1)" not in text and "<b>" not in text and "\u202e" not in text


def test_the_summary_has_the_figures(make_report):
    text = summary(make_report(validation=validation()))
    assert "| Kernels | 1 | 3 | engine/kernels |" in text
    assert "not measured; figures of NVIDIA L4 24 GB: NVIDIA L4 Tensor Core GPU data sheet" in text


def test_what_a_model_of_fusion_expects_is_not_called_an_engine(make_report):
    view = replace(MIXED_VIEW, described_by="model of fusion")
    found = Validation("none", engine_view=view, fp32_view=view).estimated_on(devices()["l4"])
    report = make_report(validation=found, metrics=found.metrics())
    assert {each.metric.partition("/")[0] for each in engine_section(found).figures} == {"fusion"}
    assert "No engine was built: these are the kernels that a model of fusion expects of one." in page(report)
    assert "| expected by a model of fusion | FP32 | mixed |" in summary(report)
    assert "estimate: roofline over a model of fusion" in summary(report)
