"""T5 as exporters split it: an encoder, and a decoder that reads what the encoder gives."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx.utils import Extractor

from tests.models import BuiltModel

STATES = "encoder_hidden_states"
_ENCODED = "/model/encoder/final_layer_norm/Mul_1_output_0"


def split_t5(built: BuiltModel, folder: Path) -> tuple[Path, Path]:
    """encoder.onnx and decoder.onnx in `folder`, made of the whole model; the tensor between them is STATES."""
    whole = onnx.load(built.path)
    for node in whole.graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                names[index] = STATES if name == _ENCODED else name
    states = onnx.helper.make_tensor_value_info(STATES, onnx.TensorProto.FLOAT, ["batch", "sequence", 512])
    whole.graph.value_info.append(states)
    parts = Extractor(whole)
    for name, inputs, output in (
        ("encoder", ("input_ids", "attention_mask"), STATES),
        ("decoder", (STATES, "input_ids", "attention_mask", "decoder_input_ids"), "logits"),
    ):
        onnx.save(parts.extract_model(list(inputs), [output]), folder / f"{name}.onnx")
    return folder / "encoder.onnx", folder / "decoder.onnx"
