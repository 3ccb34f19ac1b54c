"""Exact sums: the order of what is added says nothing."""

import math

import numpy as np
import pytest

from autocast_core.evaluate.sums.exact_sum import ExactSum


def _sum(values):
    total = ExactSum()
    for value in values:
        total.add(float(value))
    return total


def test_a_sum_is_rounded_once_whatever_the_order_and_the_parts():
    values = np.random.default_rng(0).normal(size=200) * 10.0 ** np.arange(-100, 100)
    forward, parts = _sum(values), _sum(values[150:])
    parts.merge(_sum(values[:150][::-1]))
    assert forward.value == parts.value == math.fsum(values)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], 0.0),
        ([5e-324, 5e-324, -5e-324], 5e-324),
        ([1e308, 1e308, -1e308], 1e308),
        ([1e308] * 18, math.inf),
        ([-1e308] * 18, -math.inf),
        ([1.0, math.inf, -1e308], math.inf),
    ],
)
def test_the_smallest_the_largest_and_the_infinite_are_added_as_they_are(values, expected):
    assert _sum(values).value == expected


def test_opposite_infinities_make_no_number():
    assert math.isnan(_sum([math.inf, 1.0, -math.inf]).value)
