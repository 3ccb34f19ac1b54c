"""Makes a small model, which divides vectors by their length, and its data."""

import onnx

from flows.demo.embedding_model import make_model, write_data

if __name__ == "__main__":
    onnx.save(make_model(), "model.onnx")
    write_data("data.npz")
