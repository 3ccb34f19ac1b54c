"""Makes three models and the data that they share."""

import onnx

from flows.demo.embedding_model import make_model, write_data

if __name__ == "__main__":
    for seed, name in enumerate(("one", "two", "three")):
        onnx.save(make_model(seed), f"{name}.onnx")
    write_data("data.npz")
