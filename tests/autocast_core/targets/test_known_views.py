"""What engines were made of, kept from run to run."""

import os
from importlib.util import find_spec

import onnx
import pytest

from autocast_core import ConversionConfig
from autocast_core.engine.options import EngineOptions, Profile
from autocast_core.engine.view import EngineView, Kernel
from autocast_core.model import load_proto
from autocast_core.sanitize import sanitize
from autocast_core.search.search_space import search_space
from autocast_core.targets import known_views
from autocast_core.targets.fitting import plan_view
from autocast_core.targets.known_views import known_view

VIEW = EngineView(
    (Kernel("gemm", "gemm", ("graph/a",), ("float16",), ("float16",), 8, None, 16, only_moves=True),), 1, {"b": "mask"}
)
TEXT = """
<ir_version: 9, opset_import: ["": 18]>
g (float[4, N] x) => (float[4, 2] y) <float[2] small = {SMALL}, float[WIDE, 2] w = {LARGE}> {
    [a] p = MatMul(x, w) [b] y = OP(p, small) }
"""


def model(op="Add", small="1, 2", rows=1024, value="0.5"):
    text = TEXT.replace("LARGE", ", ".join([value] * 2 * rows)).replace("WIDE", str(rows))
    return load_proto(onnx.parser.parse_model(text.replace("OP", op).replace("SMALL", small)))


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("AUTOCAST_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "engine_views"


class Builds:
    """Counts what is built."""

    def __init__(self, view=VIEW):
        self.view, self.number = view, 0

    def __call__(self):
        self.number += 1
        return self.view


def test_an_engine_is_looked_at_once_whatever_its_large_weights_hold():
    builds = Builds()
    assert [known_view(model(value=value), EngineOptions(), builds) for value in ("0.5", "0.25")] == [VIEW, VIEW]
    assert builds.number == 1


@pytest.mark.parametrize("other", [{"op": "Sub"}, {"small": "1, 3"}, {"rows": 1025}], ids=str)
def test_another_operator_small_constant_or_shape_is_another_engine(other):
    builds = Builds()
    for changes in ({}, other):
        known_view(model(**changes), EngineOptions(), builds)
    assert builds.number == 2


def test_other_shapes_of_inputs_and_limits_are_another_engine():
    builds = Builds()
    profile = Profile((4, 1), (4, 2), (4, 4))
    for options in (EngineOptions(), EngineOptions({"x": profile}), EngineOptions(workspace_bytes=1 << 20)):
        known_view(model(), options, builds)
    assert builds.number == 3


def test_another_version_of_tensorrt_builds_anew(monkeypatch):
    builds = Builds()
    for version in ("1.7", "1.8"):
        monkeypatch.setattr(known_views.importlib.metadata, "version", lambda _, version=version: version)
        known_view(model(), EngineOptions(), builds)
    assert builds.number == 2


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"kernels": [{"name": 1}]}', b"\xff\x00"])
def test_an_entry_that_cannot_be_read_is_built_anew(content, folder):
    builds = Builds()
    known_view(model(), EngineOptions(), builds)
    (entry,) = folder.iterdir()
    entry.write_bytes(content)
    assert known_view(model(), EngineOptions(), builds) == VIEW and builds.number == 2
    assert known_view(model(), EngineOptions(), builds) == VIEW and builds.number == 2


def test_where_nothing_can_be_kept_it_is_built(folder):
    folder.parent.write_text("a file")
    builds = Builds()
    assert [known_view(model(), EngineOptions(), builds) for _ in range(2)] == [VIEW, VIEW]
    assert builds.number == 2


def test_an_engine_that_cannot_be_built_is_not_kept(folder):
    assert known_view(model(), EngineOptions(), Builds(None)) is None
    assert not folder.exists()


def test_with_plugins_and_timing_caches_engines_are_built(tmp_path):
    builds = Builds()
    for options in (EngineOptions(plugins=("p.so",)), EngineOptions(timing_cache=tmp_path / "t")):
        for _ in range(2):
            known_view(model(), options, builds)
    assert builds.number == 4


def test_what_was_not_used_for_the_longest_time_goes_first(folder, monkeypatch):
    monkeypatch.setattr(known_views, "_MOST", 2)
    builds, models = Builds(), [model(small=f"1, {number}") for number in range(3)]
    for number, each in enumerate(models):
        known_view(each, EngineOptions(), builds)
        newest = max(folder.iterdir(), key=lambda entry: entry.stat().st_mtime_ns)
        os.utime(newest, (number, number))
    assert len(list(folder.iterdir())) == 2
    known_view(models[2], EngineOptions(), builds)
    assert builds.number == 3


@pytest.mark.skipif(find_spec("tensorrt_rtx") is None, reason="the extra tensorrt-rtx is not installed")
def test_the_view_of_a_plan_is_the_same_when_it_is_known(monkeypatch):
    config = ConversionConfig(shapes={"x": (4, 1024)})
    source = sanitize(model(), config).model
    plan = search_space(source, config, {}).lowest
    built = plan_view(source, plan, config)
    assert built is not None and built.kernels
    monkeypatch.setattr("autocast_core.targets.fitting.validate_model", None)
    assert plan_view(source, plan, config) == built
