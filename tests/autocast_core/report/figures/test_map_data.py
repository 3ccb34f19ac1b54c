"""What the map draws beyond the nodes: modules, inputs and outputs, casts, kernels."""

from dataclasses import replace

from autocast_core.engine.validation import Validation
from autocast_core.engine.view import EngineView, Kernel
from autocast_core.report.pages.page_data import page_data


def _named(data: dict, tensor: int) -> str:
    names = [""]
    for shared, rest in zip(data["tensors"][::2], data["tensors"][1::2], strict=True):
        names.append(names[-1][:shared] + rest)
    return names[tensor + 1]


def test_casts_name_their_tensor_their_reader_and_the_type(make_report):
    data = page_data(make_report(names=("a", "b", "c")))
    assert [(_named(data, tensor), reader, to) for tensor, reader, to in data["casts"]] == [("a out", 1, "fp16")]


def test_inputs_and_outputs_are_told_apart_from_weights(make_report):
    data = page_data(make_report(names=("a", "b")))
    assert [[_named(data, tensor) for tensor in ends] for ends in data["ends"]] == [["image"], ["b out"]]


def test_modules_are_there_only_where_the_exporter_tells_them(make_report):
    report = make_report(names=("a", "b"))
    assert "modules" not in page_data(report)
    first, second = report.network.nodes
    told = replace(report.network, nodes=(replace(first, module="layers/0"), second))
    data = page_data(replace(report, network=told))
    assert [data["strings"][module] for module in data["modules"]] == ["layers/0", ""]


def test_kernels_name_their_nodes_and_nodes_without_a_kernel_say_why(make_report):
    kernel = Kernel("gemm_1", "gemm", ("graph/a", "graph/cast"), ("float",), ("float16",), 1000, 1000)
    found = Validation("built", engine_view=EngineView((kernel,), 0, {"graph/b": "constant", "graph/gone": "layout"}))
    data = page_data(make_report(names=("a", "b"), validation=found))
    assert data["kernels"] == [["gemm_1", "gemm, float to float16, 2.00 kB of traffic", None, 0, [0]]]
    assert data["without_kernel"] == [["constant", [1]]]
