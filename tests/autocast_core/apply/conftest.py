"""One fixture, `applied`: a model as ONNX text, with the nodes named kept in FP32, printed out by apply_plan."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import onnx
import onnx.parser
import onnx_ir as ir
import pytest

from autocast_core.apply import apply_plan
from autocast_core.calibrate import Statistics
from autocast_core.config import ConversionConfig, Precision
from autocast_core.decide import decide
from autocast_core.model import load_proto
from autocast_core.sanitize import sanitize

Apply = Callable[..., onnx.ModelProto]


@pytest.fixture
def applied() -> Apply:
    """The converted model; applying the plan to it again must change nothing."""

    def run(
        text: str,
        keep: Sequence[str] = (),
        precision: Precision = Precision.FP16,
        keep_io_types: bool | tuple[str, ...] = False,
        **options: object,
    ) -> onnx.ModelProto:
        patterns = tuple(f"{name}$" for name in keep)
        config = ConversionConfig(
            precision=precision, nodes_to_exclude=patterns, keep_io_types=keep_io_types, **options
        )
        model = sanitize(load_proto(onnx.parser.parse_model(text)), config).model
        plan = decide(model, Statistics(), {}, config)
        first = apply_plan(model, plan)
        proto = ir.serde.serialize_model(first.model)
        onnx.checker.check_model(proto, full_check=True)
        again = apply_plan(load_proto(proto), first.plan)
        assert again.casts_inserted == 0
        assert onnx.printer.to_text(ir.serde.serialize_model(again.model)) == onnx.printer.to_text(proto)
        return proto

    return run
