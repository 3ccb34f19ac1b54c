"""Makes a model of embeddings, and samples of twelve classes with the labels that its judge asks for."""

import onnx

from flows.demo.embedding_model import make_model, write_data

if __name__ == "__main__":
    onnx.save(make_model(), "model.onnx")
    write_data("data.npz")
