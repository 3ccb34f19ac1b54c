"""Floats that JSON cannot express."""

import json
import math

import pytest

from autocast_core.json_values import finite, lossless


def test_what_is_not_finite_becomes_null_at_any_depth() -> None:
    found = finite({"a": float("nan"), "b": [float("inf"), 1.0], "c": (True, None, "x")})
    assert found == {"a": None, "b": [None, 1.0], "c": [True, None, "x"]}


@pytest.mark.parametrize("value", [1.5, math.inf, -math.inf])
def test_a_lossless_number_is_read_back_from_strict_json(value: float) -> None:
    assert float(json.loads(json.dumps(lossless(value), allow_nan=False))) == value


def test_a_lossless_nan_is_read_back_from_strict_json() -> None:
    assert math.isnan(float(json.loads(json.dumps(lossless(math.nan), allow_nan=False))))
