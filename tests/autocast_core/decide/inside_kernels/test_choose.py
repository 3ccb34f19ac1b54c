"""Which nodes are chosen for FP32 from what they gain and what they make cross."""

from __future__ import annotations

import pytest

from autocast_core.decide.inside_kernels.choose import chosen, expected_gain
from autocast_core.decide.inside_kernels.crossings import Crossings, Made, Reading

ELEMENTS = 1000
PER_SUM = 6 * ELEMENTS
"""Bytes: two more an element where a sum is written and where the next norm and the next sum read it."""


def stream(blocks: int, *, norms_cast: bool = False) -> Crossings:
    """A residual stream. A kernel a sum, which gains 1; a kernel a norm and its activation, which gain 0.1 each."""
    made = Crossings(noise=2.0 * blocks)
    for block in range(blocks):
        readers = (Reading(f"norm{block}", (2 * block + 1,), True, 0.1, norms_cast),)
        if block < blocks - 1:
            readers += (Reading(f"sum{block + 1}", (2 * block + 2,), True, 1.0),)
        made.made[f"sum{block}"] = Made(ELEMENTS, False, readers, goes_out=False)
        inside = Reading(f"act{block}", (2 * block + 1,), False, 0.1)
        made.made[f"norm{block}"] = Made(ELEMENTS, False, (inside,), goes_out=False)
        made.made[f"act{block}"] = Made(ELEMENTS, False, (), goes_out=False)
        made.constants[f"norm{block}"] = 10
        for producer in made.made:
            for reading in made.made[producer].readings:
                made.producers[reading.reader].add(producer)
    return made


@pytest.mark.parametrize("kept", range(1, 8))
def test_as_much_of_a_residual_stream_is_fp32_as_fits(kept):
    crossings = stream(8)
    wide = chosen(crossings, set(crossings.made), set(), kept * PER_SUM + 500)
    assert crossings.bytes_beside((), wide) > (kept - 1) * PER_SUM
    assert expected_gain(crossings, wide) * crossings.noise >= kept * 1.1


def test_a_norm_is_fp32_for_its_gain_where_the_stream_that_it_reads_is_low():
    crossings = stream(8, norms_cast=True)
    crossings.rounded |= {f"norm{block}": 0.1 for block in range(8)}
    wide = chosen(crossings, set(crossings.made), set(), PER_SUM + 500)
    norms, sums = ([each for each in wide if each.startswith(name)] for name in ("norm", "sum"))
    assert len(norms) >= 7  # all but one at the end of what is FP32 of the stream
    assert len(sums) <= 3


@pytest.mark.parametrize(("reduces", "crossing"), [(True, 0), (False, 6 * ELEMENTS)])
def test_a_16_bit_value_is_cast_by_readers_that_reduce_and_where_it_is_made_for_others(reduces, crossing):
    crossings = Crossings()
    crossings.made["sum"] = Made(ELEMENTS, False, (Reading("next", (1,), True, 1.0, reduces),), goes_out=False)
    assert crossings.bytes_of("sum", {"next"}) == (crossing and crossing - 2 * ELEMENTS)
