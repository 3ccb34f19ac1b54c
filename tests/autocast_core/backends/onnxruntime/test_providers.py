"""Which execution providers are requested, and what is reported about those in use."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import onnx.parser
import pytest

from autocast_core.backends.onnxruntime import providers
from autocast_core.backends.onnxruntime.providers import NAMES, choose, custom_operator, missing, used, warn_of_fallback
from autocast_core.backends.onnxruntime.session import OnnxRuntime
from autocast_core.model import load_proto

CPU, CUDA, TRT = NAMES["cpu"], NAMES["cuda"], NAMES["trt"]
ALL = (TRT, CUDA, CPU)
PLAIN = '<ir_version: 10, opset_import: ["" : 22]> main (float[2] x) => (float[2] y) { y = Sin (x) }'
CUSTOM = """
<ir_version: 10, opset_import: ["" : 22, "my.plugins" : 1]>
main (float[2] x) => (float[2] y) { [own] y = my.plugins.Swirl (x) }
"""
OF_ONNX_RUNTIME = """
<ir_version: 10, opset_import: ["" : 22, "com.microsoft" : 1]>
main (float[2] x) => (float[2] y) { y = com.microsoft.QuickGelu (x) }
"""
LOCAL = """
<ir_version: 10, opset_import: ["" : 22, "local" : 1]>
main (float[2] x) => (float[2] y) { y = local.twice (x) }
<domain: "local", opset_import: ["" : 22]> twice (a) => (b) { b = Add (a, a) }
"""


def _model(text):
    return load_proto(onnx.parser.parse_model(text))


def _session(**nodes):
    assigned = [SimpleNamespace(ep_name=name, get_nodes=lambda n=n: [None] * n) for name, n in nodes.items()]
    return SimpleNamespace(get_provider_graph_assignment_info=lambda: assigned)


def test_the_cpu_is_the_last_resort():
    assert choose(("cuda:1",), _model(PLAIN), ALL) == [(CUDA, {"device_id": "1"}), (CPU, {})]
    assert choose(("cuda:0", "trt", "cpu"), _model(PLAIN), ALL) == [(CUDA, {"device_id": "0"}), (TRT, {}), (CPU, {})]


def test_without_a_choice_the_cpu_computes():
    assert choose((), _model(PLAIN), ALL) == [(CPU, {})]


def test_a_custom_operator_enables_tensorrt_where_it_is_there_and_that_is_logged(monkeypatch, caplog):
    monkeypatch.setattr(providers, "has_driver", lambda: True)
    with caplog.at_level(logging.INFO, "autocast_core"):
        found = choose((), _model(CUSTOM), ALL, ("a.so", "b.so"))
    assert found == [(TRT, {"trt_extra_plugin_lib_paths": "a.so;b.so"}), (CPU, {})]
    assert "custom operator Swirl (node own): the TensorRT execution provider is enabled" in caplog.text


def test_a_custom_operator_enables_nothing_where_the_user_chose(monkeypatch):
    monkeypatch.setattr(providers, "has_driver", lambda: True)
    assert choose(("cpu",), _model(CUSTOM), ALL) == [(CPU, {})]


def test_a_custom_operator_enables_nothing_without_a_driver(monkeypatch):
    monkeypatch.setattr(providers, "has_driver", lambda: False)
    assert choose((), _model(CUSTOM), ALL) == [(CPU, {})]


@pytest.mark.parametrize("text", [PLAIN, OF_ONNX_RUNTIME, LOCAL])
def test_operators_that_onnx_runtime_knows_are_not_custom(text):
    assert custom_operator(_model(text)) is None


def test_a_provider_that_is_not_there_is_passed_over():
    assert choose(("cuda",), _model(PLAIN), (CPU,)) == [(CPU, {})]
    assert missing(("cuda:0", "cpu", "trt"), (CPU,)) == [CUDA, TRT]


def test_a_provider_that_did_not_start_is_named(caplog):
    wanted = choose(("cuda:0", "trt"), _model(PLAIN), ALL)
    warn_of_fallback(wanted, ALL)
    assert caplog.messages == []
    warn_of_fallback(wanted, (CUDA, CPU))
    assert caplog.messages[0].startswith("ONNX Runtime could not start TensorrtExecutionProvider: going on with CUDA")


def test_the_provider_that_computes_most_nodes_is_reported(caplog):
    wanted = [(CUDA, {}), (CPU, {})]
    assert used(_session(**{CUDA: 9, CPU: 2}), wanted) == "cuda"
    assert caplog.text == ""
    assert used(_session(**{CUDA: 1, CPU: 2}), wanted) == "cpu"
    assert "CUDAExecutionProvider was asked for but CPUExecutionProvider computes most nodes" in caplog.text


def test_a_session_reports_the_cpu():
    assert OnnxRuntime().open(_model(PLAIN)).backend == "onnxruntime-cpu"
