"""Trains the demo's classifier on scikit-learn's handwritten digits and writes the files beside this script.

Provenance only: nothing imports this module, and its libraries are no dependencies of the project. To repeat it:
``pip install torch==2.13.0 scikit-learn==1.9.1 onnx``, then ``python train_digits.py``. The same versions on the same
machine write the same bytes.

The network takes raw 0-255 pixels and divides each image by its L2 norm, as many vision pipelines do:
x / sqrt(sum(x^2)). The sum reaches 4e6 where FP16 ends at 65504, so that a model whose every value is FP16 divides by
infinity, sees ten times the same black image, and guesses. Everything after that is harmless in FP16.
"""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn import functional

HELD_OUT = 400
CALIBRATION = 64
SCALE = 8.0
"""Gives a normalised 8x8 image unit root mean square."""
BLOCKS = (("block1", 16), ("block2", 32))
EPOCHS = 60


class Residual(nn.Module):
    """relu(x + conv(relu(conv(x)))) at constant width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x + self.conv2(functional.relu(self.conv1(x))))


class Digits(nn.Module):
    """Raw pixels (N, 1, 8, 8) to logits (N, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 16, 3, padding=1)
        self.block1 = Residual(16)
        self.down = nn.Conv2d(16, 32, 3, stride=2, padding=1)
        self.block2 = Residual(32)
        self.hidden = nn.Linear(32 * 4 * 4, 64)
        self.classifier = nn.Linear(64, 10)

    def forward(self, pixels: Tensor) -> Tensor:
        energy = (pixels * pixels).sum(dim=(1, 2, 3), keepdim=True)
        x = pixels / energy.sqrt() * SCALE
        x = self.block1(functional.relu(self.stem(x)))
        x = self.block2(functional.relu(self.down(x)))
        x = functional.relu(self.hidden(x.flatten(1)))
        return self.classifier(x)


def digits() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Train images, test images (N, 1, 8, 8) float32 holding the integers 0-255, and their labels (int64)."""
    images, labels = load_digits(return_X_y=True)
    pixels = np.round(images * (255 / 16)).astype(np.float32).reshape(-1, 1, 8, 8)
    return train_test_split(pixels, labels.astype(np.int64), test_size=HELD_OUT, stratify=labels, random_state=0)


def shifted(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each image moved by up to one pixel, the border filled with black."""
    padded = functional.pad(images, (1, 1, 1, 1))
    rows, columns = torch.randint(0, 3, (2, len(images)), generator=generator)
    return torch.stack(
        [image[:, r : r + 8, c : c + 8] for image, r, c in zip(padded, rows.tolist(), columns.tolist(), strict=True)]
    )


def train(images: np.ndarray, labels: np.ndarray) -> Digits:
    """AdamW with a cosine schedule and label smoothing; seeded."""
    torch.manual_seed(0)
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    model, x, y = Digits(), torch.from_numpy(images), torch.from_numpy(labels)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(x), generator=generator).split(64):
            loss = functional.cross_entropy(model(shifted(x[batch], generator)), y[batch], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
    return model.eval()


def to_onnx(model: Digits) -> onnx.ModelProto:
    """The same network as an opset 17 graph with readable node names and a dynamic batch."""
    weights = {name: tensor.detach().numpy() for name, tensor in model.state_dict().items()}
    weights["normalize.scale"] = np.array(SCALE, np.float32)
    graph = helper.make_graph(
        [*_normalization(), *_features(), *_head()],
        "digits",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 10])],
        [numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in weights.items()],
    )
    opsets = [helper.make_opsetid("", 17)]
    proto = helper.make_model(graph, producer_name="train_digits", opset_imports=opsets, ir_version=8)
    onnx.checker.check_model(proto, full_check=True)
    return proto


def _normalization() -> list[onnx.NodeProto]:
    return [
        _node("ReduceSumSquare", "normalize/energy", ["image"], axes=[1, 2, 3], keepdims=1),
        _node("Sqrt", "normalize/norm", ["normalize/energy"]),
        _node("Div", "normalize/unit", ["image", "normalize/norm"]),
        _node("Mul", "normalize/rescale", ["normalize/unit", "normalize.scale"]),
    ]


def _features() -> list[onnx.NodeProto]:
    stem = [_conv("stem", "normalize/rescale"), _node("Relu", "stem/relu", ["stem/conv"])]
    down = [_conv("down", "block1/relu2", strides=[2, 2]), _node("Relu", "down/relu", ["down/conv"])]
    return [*stem, *_residual("block1", "stem/relu"), *down, *_residual("block2", "down/relu")]


def _residual(block: str, source: str) -> list[onnx.NodeProto]:
    return [
        _node("Conv", f"{block}/conv1", [source, *_parameters(f"{block}.conv1")], pads=[1] * 4, kernel_shape=[3, 3]),
        _node("Relu", f"{block}/relu1", [f"{block}/conv1"]),
        _node(
            "Conv",
            f"{block}/conv2",
            [f"{block}/relu1", *_parameters(f"{block}.conv2")],
            pads=[1] * 4,
            kernel_shape=[3, 3],
        ),
        _node("Add", f"{block}/add", [source, f"{block}/conv2"]),
        _node("Relu", f"{block}/relu2", [f"{block}/add"]),
    ]


def _head() -> list[onnx.NodeProto]:
    return [
        _node("Flatten", "head/flatten", ["block2/relu2"], axis=1),
        _node("Gemm", "head/hidden", ["head/flatten", *_parameters("hidden")], transB=1),
        _node("Relu", "head/relu", ["head/hidden"]),
        helper.make_node(
            "Gemm", ["head/relu", *_parameters("classifier")], ["logits"], name="head/classifier", transB=1
        ),
    ]


def _conv(layer: str, source: str, **attributes: Any) -> onnx.NodeProto:
    return _node(
        "Conv", f"{layer}/conv", [source, *_parameters(layer)], pads=[1] * 4, kernel_shape=[3, 3], **attributes
    )


def _parameters(layer: str) -> list[str]:
    return [f"{layer}.weight", f"{layer}.bias"]


def _node(op_type: str, name: str, inputs: list[str], **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op_type, inputs, [name], name=name, **attributes)


def main() -> None:
    """Train the demo's model and write it and its data beside this file."""
    folder = Path(__file__).parent
    train_images, test_images, train_labels, test_labels = digits()
    model = train(train_images, train_labels)
    with torch.no_grad():
        top1 = float((model(torch.from_numpy(test_images)).argmax(1).numpy() == test_labels).mean())
    print(f"top-1 on {len(test_labels)} held-out images: {top1:.2%}")
    onnx.save_model(to_onnx(model), str(folder / "model.onnx"))
    np.savez_compressed(folder / "calibration.npz", image=train_images[:CALIBRATION])
    np.savez_compressed(folder / "evaluation.npz", image=test_images, labels=test_labels)


if __name__ == "__main__":
    main()
