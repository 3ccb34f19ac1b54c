"""Inputs of the test models: two seeded samples each, in real ranges and, where two cores can bear it, real sizes."""

from collections.abc import Callable, Mapping

import numpy as np

from tests.models.recipe import generator

Batch = dict[str, np.ndarray]
SAMPLES = 2


def inputs(name: str, part: str, vocabulary: int, seed: int) -> Batch:
    """Samples for architecture `name`; `part` (calibration, evaluation) keeps the two apart.

    Token ids are int64 below `vocabulary`; a first dimension of two holds the samples.
    """
    return _INPUTS[name](generator(seed, f"inputs/{name}/{part}"), vocabulary)


def _images(rng: np.random.Generator, vocabulary: int) -> Batch:
    return {"pixel_values": rng.standard_normal((SAMPLES, 3, 224, 224), dtype=np.float32)}


def _ids(rng: np.random.Generator, vocabulary: int, length: int) -> np.ndarray:
    return rng.integers(0, vocabulary, (SAMPLES, length), dtype=np.int64)


def _mask(rng: np.random.Generator, length: int) -> np.ndarray:
    """Ones, then zeros of padding in every sample but the first."""
    lengths = np.array([length, *rng.integers(length // 2, length, SAMPLES - 1)])
    return (np.arange(length)[None, :] < lengths[:, None]).astype(np.int64)


def _bert(rng: np.random.Generator, vocabulary: int) -> Batch:
    segments = np.repeat(np.array([[0] * 64 + [1] * 64], np.int64), SAMPLES, axis=0)
    return {
        "input_ids": _ids(rng, vocabulary, 128),
        "attention_mask": _mask(rng, 128),
        "token_type_ids": segments,
    }


def _decoder(rng: np.random.Generator, vocabulary: int) -> Batch:
    return {"input_ids": _ids(rng, vocabulary, 64), "attention_mask": _mask(rng, 64)}


def _t5(rng: np.random.Generator, vocabulary: int) -> Batch:
    return {**_decoder(rng, vocabulary), "decoder_input_ids": _ids(rng, vocabulary, 32)}


def _log_mel(rng: np.random.Generator, vocabulary: int) -> Batch:
    """Whisper's features lie in about [-1, 1] and change slowly in time."""
    steps = rng.standard_normal((SAMPLES, 80, 3000 + 15), dtype=np.float32)
    smooth = np.lib.stride_tricks.sliding_window_view(steps, 16, axis=2).mean(axis=3)
    return {"input_features": np.clip(1.6 * smooth - 0.2, -1, 1).astype(np.float32)}


def _lstm(rng: np.random.Generator, vocabulary: int) -> Batch:
    return {"input_ids": _ids(rng, vocabulary, 64)}


def _unet(rng: np.random.Generator, vocabulary: int) -> Batch:
    return {
        "sample": rng.standard_normal((SAMPLES, 3, 64, 64), dtype=np.float32),
        "timestep": rng.integers(0, 1000, SAMPLES, dtype=np.int64),
    }


def _if_loop(rng: np.random.Generator, vocabulary: int) -> Batch:
    return {"x": rng.standard_normal((SAMPLES, 256), dtype=np.float32), "steps": np.array(5, np.int64)}


_INPUTS: Mapping[str, Callable[[np.random.Generator, int], Batch]] = {
    "resnet50": _images,
    "bert_base": _bert,
    "vit_base": _images,
    "gpt2": _decoder,
    "llama_100m": _decoder,
    "t5_small": _t5,
    "whisper_encoder": _log_mel,
    "swin_tiny": _images,
    "swin_tiny_traced": _images,
    "mobilenet_v2": _images,
    "lstm": _lstm,
    "unet": _unet,
    "detector": _images,
    "if_loop": _if_loop,
}
