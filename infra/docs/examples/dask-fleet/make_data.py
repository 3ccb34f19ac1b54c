"""Makes three models and the data that they share."""

import numpy as np
import onnx
from make_model import make_model

if __name__ == "__main__":
    for seed, name in enumerate(("one", "two", "three")):
        onnx.save(make_model(seed), f"{name}.onnx")
    np.savez("data.npz", x=np.random.default_rng(1).normal(scale=20, size=(64, 8)).astype(np.float32))
