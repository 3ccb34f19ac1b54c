"""A runtime's refusal counts against a converted model only where the runtime can judge it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx.parser
import onnx_ir as ir
import pytest

from autocast_core.errors import BackendError, VerificationError
from autocast_core.model import load_proto
from autocast_core.model.protobuf.serialized_parts import structure_of
from autocast_core.verify.loading import load_finding


class Refusing:
    """A runtime that refuses the models whose graph has one of the given names."""

    name = "refusing"

    def __init__(self, message: str, *names: str) -> None:
        self._message, self._names = message, names

    def open(self, model: ir.Model, **options: Any) -> Closing:
        if model.graph.name in self._names:
            raise BackendError(self._message)
        return Closing()


class Closing:
    def close(self) -> None: ...


def model(name: str) -> ir.Model:
    text = f'<ir_version: 10, opset_import: ["" : 22]> {name} (float[2] x) => (float[2] y) {{ y = Neg (x) }}'
    return load_proto(onnx.parser.parse_model(text))


def finding(converted: ir.Model, runtime: Any, original: Callable[[], ir.Model] | None) -> str | None:
    return load_finding(converted, structure_of(converted), runtime, original)


def test_a_refusal_of_the_converted_model_alone_is_a_defect():
    with pytest.raises(VerificationError, match="type mismatch"):
        finding(model("converted"), Refusing("type mismatch", "converted"), lambda: model("source"))


def test_a_refusal_of_the_source_as_well_says_only_that_the_runtime_lacks_something():
    runtime = Refusing("layout == 0 was false", "converted", "source")
    assert finding(model("converted"), runtime, lambda: model("source")) == "layout == 0 was false"


def test_a_runtime_that_lacks_a_kernel_is_no_judge():
    runtime = Refusing("Failed to find kernel for Cast(25)", "converted")
    assert finding(model("converted"), runtime, lambda: model("source")) == "Failed to find kernel for Cast(25)"


def test_a_model_that_loads_has_no_finding():
    assert finding(model("converted"), Refusing("never"), None) is None
