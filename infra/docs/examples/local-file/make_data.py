"""Makes a small model and its data: embeddings of unit length, whose sum of squares leaves the range of FP16."""

import numpy as np
import onnx

TEXT = """
<ir_version: 9, opset_import: ["": 18]>
embedding (float[N,8] x) => (float[N,4] y) <float[8,16] w1, float[16,4] w2>
{
  hidden = MatMul(x, w1)
  energy = ReduceSumSquare<keepdims = 1>(hidden, axis)
  size = Sqrt(energy)
  unit = Div(hidden, size)
  positive = Relu(unit)
  y = MatMul(positive, w2)
}
"""


def make_model(seed: int) -> onnx.ModelProto:
    """The network with weights of its own."""
    random = np.random.default_rng(seed)
    model = onnx.parser.parse_model(TEXT)
    arrays = {name: random.normal(size=shape).astype(np.float32) for name, shape in (("w1", (8, 16)), ("w2", (16, 4)))}
    for name, array in {**arrays, "axis": np.array([1])}.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    return model


if __name__ == "__main__":
    onnx.save(make_model(0), "model.onnx")
    samples = np.random.default_rng(1).normal(scale=20, size=(64, 8)).astype(np.float32)
    np.savez("data.npz", x=samples)
