from __future__ import annotations

from dataclasses import replace

from autocast_core.engine.devices import devices
from autocast_core.engine.validation import Validation
from autocast_core.engine.view import EngineView, Kernel
from tasks.stages.validate import artifacts


def test_a_run_keeps_the_kernels_of_the_engine_as_a_table():
    product = Kernel("a", "gemm", ("graph/p", "graph/q"), ("float16", "float16"), ("float",), 12, 4, 64, stream=1)
    cast = Kernel("b", "kgen", (), ("float",), ("float16",), None, None, only_moves=True)
    product = replace(product, operand_type="float16")
    texts, tables = artifacts(Validation("built", engine_view=EngineView((product, cast))))
    assert texts == {}
    assert tables == {
        "tensorrt/kernels.json": {
            "kernel": ["a", "b"],
            "kind": ["gemm", "kgen"],
            "nodes": ["graph/p, graph/q", ""],
            "reads": ["float16, float16", "float"],
            "writes": ["float", "float16"],
            "read_bytes": [12, None],
            "written_bytes": [4, None],
            "flops": [64, None],
            "operand_type": ["float16", ""],
            "stream": [1, 0],
            "only_moves": [False, True],
            "fused_attention": [False, False],
            "estimated_us": [None, None],
        }
    }


def test_the_tables_of_both_engines_have_the_estimates_of_their_kernels():
    kernel = Kernel("a", "kgen", ("graph/p",), ("float16",), ("float16",), 300_000, 0)
    view = EngineView((kernel, kernel))
    found = Validation("built", engine_view=view, fp32_view=EngineView((kernel,))).estimated_on(devices()["l4"])
    _, tables = artifacts(found)
    assert tables["tensorrt/kernels.json"]["estimated_us"] == [4.0, 4.0]
    assert tables["tensorrt/kernels_fp32.json"]["estimated_us"] == [4.0]


def test_without_a_view_there_is_no_table_of_kernels():
    assert artifacts(Validation("parsed")) == ({}, {})
