"""FP16 with BF16 where range was the reason: the oracle, which shares no code with the simulation, sees no ruin."""

import pytest

from autocast_core import Precision
from tests.hazards.judged import planned
from tests.hazards.nets import HAZARDS

BOTH = (Precision.FP16, Precision.BF16)

RANGE = (
    "RMSNorm of a residual stream",
    "exp before log-sum-exp",
    "sum of thousands",
    "weight beyond the range",
    "areas of boxes in pixels",
    "mean of squares of audio samples",
    "cube of GELU where its tanh saturates",
    "scores scaled only after the product",
    "values of thousands through a linear layer",
    "outlier channel with small weights",
    "power spectrum by the operator STFT",
    "activations of a millionth",
    "product of many probabilities",
    "log of softmax",
)
PRECISION = (
    "bucket of a position",
    "durations that become frames",
    "hash of identifiers",
    "large biases that cancel",
    "rotary angles of 4096 positions",
    "scores of hundreds",
    "squared distance by its expansion",
    "time of day from seconds",
)


@pytest.mark.parametrize("name", RANGE)
def test_nodes_that_need_range_are_bf16_and_lose_nothing_that_counts(name):
    found = planned(HAZARDS[name], BOTH)
    alone = planned(HAZARDS[name], Precision.FP16)
    assert any(each.precision is Precision.BF16 for each in found.plan.nodes)
    assert len(found.kept) < len(alone.kept)
    assert found.judge(found.plan).good("fp16")


@pytest.mark.parametrize("name", PRECISION)
def test_nodes_that_need_precision_stay_in_fp32(name):
    found = planned(HAZARDS[name], BOTH)
    alone = planned(HAZARDS[name], Precision.FP16)
    assert [each.precision for each in found.plan.nodes] == [each.precision for each in alone.plan.nodes]
