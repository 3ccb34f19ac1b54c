"""Models that feed each other, small."""

import numpy as np
import pytest

from autocast_core.composite import GreedyDecoding
from autocast_core.config import ConversionConfig
from autocast_core.model import ModelRef
from tests.models.cached_decoder import VOCABULARY, build_cached_decoder

STEPS = 8


def ref(path):
    return ModelRef(path, "")


def cached(**changes):
    """How the small decoder generates with its cache."""
    given = {
        "tokens": "input_ids",
        "max_new_tokens": STEPS,
        "cache": {"past_*": "present_*"},
        "attention_mask": "attention_mask",
        "position_ids": "position_ids",
    }
    return GreedyDecoding(**{**given, **changes})


@pytest.fixture(scope="session")
def decoders(tmp_path_factory):
    """A folder with decoder.onnx, which has a cache, prompt.onnx, which makes one, and prompts.npz."""
    folder = tmp_path_factory.mktemp("decoders")
    build_cached_decoder(folder / "decoder.onnx")
    build_cached_decoder(folder / "prompt.onnx", cache=False)
    ids = np.random.default_rng(7).integers(0, VOCABULARY, (3, 6))
    mask = np.ones_like(ids)
    mask[1, :2] = mask[2, :3] = 0
    positions = np.maximum(np.cumsum(mask, axis=1) - 1, 0)
    np.savez(folder / "prompts.npz", input_ids=ids, attention_mask=mask, position_ids=positions)
    return folder


@pytest.fixture
def fp16():
    return ConversionConfig()
