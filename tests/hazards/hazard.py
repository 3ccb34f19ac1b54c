"""A small net that holds one hazard, or looks as if it did, with data as its users have it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
import onnx.numpy_helper

Feeds = Mapping[str, np.ndarray]
Sampler = Callable[[np.random.Generator], Feeds]
Weights = Callable[[np.random.Generator], Mapping[str, npt.NDArray[np.float64]]]

IR_VERSION = 8


@dataclass(frozen=True)
class Hazard:
    """A net as ONNX text without its header, and a function from a generator to samples of its inputs.

    `weights` makes the initializers that the text does not give, in FP32. `unseen` makes the held-out samples where
    they are not distributed as the calibration data. A `harmless` net only looks like a hazard: all of it can be
    lowered to FP16.
    """

    graph: str
    samples: Sampler
    opset: int = 17
    harmless: bool = False
    weights: Weights | None = None
    unseen: Sampler | None = None

    def model(self) -> onnx.ModelProto:
        """The net."""
        model = onnx.parser.parse_model(f'<ir_version: {IR_VERSION}, opset_import: ["": {self.opset}]>\n{self.graph}')
        made = self.weights(np.random.default_rng(7)) if self.weights is not None else {}
        for name, array in made.items():
            model.graph.initializer.append(onnx.numpy_helper.from_array(array.astype(np.float32), name))
        return model

    def calibration(self) -> Feeds:
        """The samples that a plan is made from."""
        return self.samples(np.random.default_rng(1))

    def held_out(self) -> Feeds:
        """Other samples, to judge the plan on."""
        return (self.unseen or self.samples)(np.random.default_rng(99))


def normal(mean: float, deviation: float, *shape: int, names: str = "x", count: int = 16) -> Sampler:
    """Independent normal samples for each input in `names`, `count` along the first axis."""
    return lambda rng: {name: rng.normal(mean, deviation, (count, *shape)).astype(np.float32) for name in names.split()}


def uniform(low: float, high: float, *shape: int, count: int = 16) -> Sampler:
    """Uniform samples of the input x, `count` along the first axis."""
    return lambda rng: {"x": rng.uniform(low, high, (count, *shape)).astype(np.float32)}


def matrix(scale: float, *shape: int) -> Weights:
    """The weight w, of normal elements."""
    return lambda rng: {"w": rng.normal(0.0, scale, shape)}
