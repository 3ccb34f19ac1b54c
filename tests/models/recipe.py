"""The values of the test models' weights: one fixed recipe for all architectures, settled before anything was measured.

| role | values | source |
|---|---|---|
| weight FAN_IN GAIN | N(0, GAIN²/FAN_IN) | fan-in scaling, He et al. 2015, equation 7 |
| embedding STD | N(0, STD²); 0.02, but 1 for T5 and the LSTM, which start so | BERT's, GPT-2's, T5's initialisation |
| gain | N(1, 0.1²) | a trained normalisation's gain |
| shift | N(0, 0.1²) | a trained normalisation's bias |
| bias | N(0, 0.02²) | |
| mean | N(0, 0.1²) | BatchNormalization's running mean |
| variance | exp N(0, 0.1²), so positive | BatchNormalization's running variance |
| sinusoids | Whisper's table of positions, by its formula | Vaswani et al. 2017, section 3.5 |

GAIN is √2 before a rectifier (which halves the second moment), ½ for the last matrix of a residual branch (so that the
residual stream grows slowly with depth, as it does in trained networks; GPT-2 scales by 1/√(2·layers)), else 1. T5's
query weights carry the 1/√d of its softmax. Each tensor has its own generator, seeded by the seed and its name.
"""

import hashlib

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


def values(role: str, name: str, dims: tuple[int, ...], seed: int) -> Array:
    """Values of one tensor, FP32 of shape `dims`. Raises ValueError for an unknown role."""
    match role.split():
        case ["weight", fan_in, gain]:
            return _normal(name, dims, seed, 0.0, float(gain) / float(fan_in) ** 0.5)
        case ["embedding", deviation]:
            return _normal(name, dims, seed, 0.0, float(deviation))
        case ["gain"]:
            return _normal(name, dims, seed, 1.0, 0.1)
        case ["shift"] | ["mean"]:
            return _normal(name, dims, seed, 0.0, 0.1)
        case ["bias"]:
            return _normal(name, dims, seed, 0.0, 0.02)
        case ["variance"]:
            return np.exp(_normal(name, dims, seed, 0.0, 0.1))
        case ["sinusoids"]:
            return sinusoids(*dims)
    raise ValueError(f"tensor {name} has the unknown role {role!r}: export its graph again")


def generator(seed: int, name: str) -> np.random.Generator:
    """A generator that depends on `seed` and `name` only, not on PYTHONHASHSEED or the order of calls."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "little"))


def sinusoids(length: int, channels: int) -> Array:
    """Whisper's positions: sines in the first half of the channels, cosines in the second; (length, channels) FP32."""
    steps = np.log(10000.0) / (channels // 2 - 1)
    angles = np.arange(length)[:, None] * np.exp(-steps * np.arange(channels // 2))[None, :]
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)


def _normal(name: str, dims: tuple[int, ...], seed: int, mean: float, deviation: float) -> Array:
    drawn = generator(seed, name).standard_normal(dims, dtype=np.float32)
    drawn *= np.float32(deviation)
    drawn += np.float32(mean)
    return drawn
