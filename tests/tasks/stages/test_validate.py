from __future__ import annotations

from autocast_core.engine.validation import Validation
from autocast_core.engine.view import EngineView, Kernel
from tasks.stages.validate import artifacts


def test_a_run_keeps_the_kernels_of_the_engine_as_a_table():
    product = Kernel("a", "gemm", ("graph/p", "graph/q"), ("float16", "float16"), ("float",), 12, 4, 64, stream=1)
    cast = Kernel("b", "kgen", (), ("float",), ("float16",), None, None, only_moves=True)
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
            "stream": [1, 0],
            "only_moves": [False, True],
        }
    }


def test_without_a_view_there_is_no_table_of_kernels():
    assert artifacts(Validation("parsed")) == ({}, {})
