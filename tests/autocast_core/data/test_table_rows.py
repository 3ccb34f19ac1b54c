"""Finding how many rows the table has that an integer input indexes."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from autocast_core.data import table_sizes


@pytest.mark.parametrize(
    "nodes",
    [
        "y = Gather(table, i)",
        "j = Cast<to = 7>(i) y = Gather(table, j)",
        "j = Unsqueeze(i, axes) k = Identity(j) y = Gather(table, k)",
        "y = Gather<axis = 1>(wide, i)",
        "y = GatherElements(table, i)",
        "j = Gather(i, axes) y = Gather(table, j)",
        "d = Shape(x) j = ReverseSequence<batch_axis = 0, time_axis = 1>(i, d) y = Gather(table, j)",
        "y = If(c) <then_branch = t () => (float[N] a) { a = Gather(table, i) },"
        " else_branch = e () => (float[N] b) { b = Gather(table, i) }>",
        "z = Gather(large, i) y = Gather(table, i)",
    ],
)
def test_the_smallest_table_behind_an_input_counts(nodes: str) -> None:
    model = ir.from_onnx_text(
        '<ir_version: 10, opset_import: ["":18]> g (int32[N] i, bool c, float[N] x) => (float[N] y)'
        f" <float[5, 1] table = {{1, 2, 3, 4, 5}}, float[1, 5] wide = {{1, 2, 3, 4, 5}},"
        f" float[9, 1] large = {{1, 2, 3, 4, 5, 6, 7, 8, 9}}, int64[1] axes = {{0}}> {{ {nodes} }}"
    )
    assert table_sizes(model) == {"i": 5}


def test_an_input_that_is_computed_with_has_no_table() -> None:
    model = ir.from_onnx_text(
        '<ir_version: 10, opset_import: ["":18]> g (int64[N] i, float[5] t) => (float[N] y)'
        " { j = Mul(i, i) y = Gather(t, j) }"
    )
    assert table_sizes(model) == {}
