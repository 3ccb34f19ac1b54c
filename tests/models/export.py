"""Exports the test models' graphs without their weights; the provenance of graphs/*.onnx.

Run once, in an environment of its own, from the repository's root:

    python -m venv ENVIRONMENT
    ENVIRONMENT/bin/pip install torch==2.13.0 transformers==5.23.0 onnx==1.23.2 onnxscript==0.7.2
    ENVIRONMENT/bin/python -m tests.models.export [NAME ...]

Models are made from configuration objects with random weights; nothing is downloaded. Both exporters are used, at
several opsets, as users' models come: `torchscript` below opset 17 writes LayerNorm as its parts. `.2layers` graphs
have blocks of full width, at most two of them a stage, and a vocabulary of 4,096.
"""

import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx
import torch  # type: ignore[import-not-found]
import transformers as hf  # type: ignore[import-not-found]
from torch import nn  # type: ignore[import-not-found]

from tests.models import networks
from tests.models.strip import strip

GRAPHS = Path(__file__).parent / "graphs"
SMALL_VOCABULARY = 4096


@dataclass(frozen=True)
class Export:
    """How one architecture is exported: `make(layers)` gives the module, `inputs` its example arguments in order."""

    make: Callable[[int | None], nn.Module]
    inputs: Mapping[str, Any]
    outputs: tuple[str, ...]
    opset: int
    dynamo: bool = False
    dynamic: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    roles: Mapping[str, str] = field(default_factory=dict)
    keep_batch_norm: bool = False
    scripted: bool = False


class Positional(nn.Module):
    """Calls a transformers model by input name and returns plain tensors."""

    def __init__(self, model: nn.Module, inputs: tuple[str, ...], outputs: tuple[str, ...], **options: Any) -> None:
        super().__init__()
        self.model, self.inputs, self.outputs, self.options = model, inputs, outputs, options

    def forward(self, *arguments: torch.Tensor) -> Any:
        result = self.model(**dict(zip(self.inputs, arguments, strict=True)), **self.options)
        return tuple(getattr(result, name) for name in self.outputs)


def _depths(full: list[int], layers: int | None) -> list[int]:
    return [min(depth, layers or depth) for depth in full]


def _vocabulary(full: int, layers: int | None) -> int:
    return full if layers is None else SMALL_VOCABULARY


def _resnet50(layers: int | None) -> nn.Module:
    config = hf.ResNetConfig(depths=_depths([3, 4, 6, 3], layers), num_labels=1000)
    return Positional(hf.ResNetForImageClassification(config), ("pixel_values",), ("logits",))


def _bert_base(layers: int | None) -> nn.Module:
    config = hf.BertConfig(
        num_hidden_layers=layers or 12, vocab_size=_vocabulary(30522, layers), attn_implementation="eager"
    )
    inputs = ("input_ids", "attention_mask", "token_type_ids")
    return Positional(hf.BertModel(config), inputs, ("last_hidden_state", "pooler_output"))


def _vit_base(layers: int | None) -> nn.Module:
    config = hf.ViTConfig(num_hidden_layers=layers or 12, num_labels=1000, attn_implementation="eager")
    return Positional(hf.ViTForImageClassification(config), ("pixel_values",), ("logits",))


def _gpt2(layers: int | None) -> nn.Module:
    config = hf.GPT2Config(n_layer=layers or 12, vocab_size=_vocabulary(50257, layers), attn_implementation="eager")
    return Positional(hf.GPT2LMHeadModel(config), ("input_ids", "attention_mask"), ("logits",), use_cache=False)


def _llama_100m(layers: int | None) -> nn.Module:
    config = hf.LlamaConfig(
        vocab_size=_vocabulary(32000, layers),
        hidden_size=640,
        intermediate_size=1728,
        num_hidden_layers=layers or 12,
        num_attention_heads=10,
        num_key_value_heads=5,
        max_position_embeddings=2048,
        attn_implementation="eager",
    )
    return Positional(hf.LlamaForCausalLM(config), ("input_ids", "attention_mask"), ("logits",), use_cache=False)


def _t5_small(layers: int | None) -> nn.Module:
    config = hf.T5Config(num_layers=layers or 6, vocab_size=_vocabulary(32128, layers), attn_implementation="eager")
    inputs = ("input_ids", "attention_mask", "decoder_input_ids")
    return Positional(hf.T5ForConditionalGeneration(config), inputs, ("logits",), use_cache=False)


def _whisper_encoder(layers: int | None) -> nn.Module:
    config = hf.WhisperConfig(encoder_layers=layers or 4, attn_implementation="eager")
    return Positional(hf.WhisperModel(config).encoder, ("input_features",), ("last_hidden_state",))


def _swin_tiny(layers: int | None) -> nn.Module:
    config = hf.SwinConfig(depths=_depths([2, 2, 6, 2], layers), num_labels=1000, attn_implementation="eager")
    return Positional(hf.SwinForImageClassification(config), ("pixel_values",), ("logits",))


def _lstm(layers: int | None) -> nn.Module:
    return networks.RecurrentTagger(_vocabulary(10000, layers), layers or 3)


def _if_loop(layers: int | None) -> nn.Module:
    return torch.jit.script(networks.IfLoop(layers or 4))


def _ids() -> torch.Tensor:
    return torch.arange(64).reshape(2, 32) + 1000


def _mask() -> torch.Tensor:
    mask = torch.ones(2, 32, dtype=torch.int64)
    mask[1, 24:] = 0
    return mask


TOKENS = ("batch", "sequence")

EXPORTS: Mapping[str, Export] = {
    "resnet50": Export(
        _resnet50, {"pixel_values": torch.randn(2, 3, 224, 224)}, ("logits",), 18, True, {"pixel_values": ("batch",)}
    ),
    "bert_base": Export(
        _bert_base,
        {"input_ids": _ids(), "attention_mask": _mask(), "token_type_ids": torch.zeros(2, 32, dtype=torch.int64)},
        ("last_hidden_state", "pooler_output"),
        14,
        dynamic={"input_ids": TOKENS, "attention_mask": TOKENS, "token_type_ids": TOKENS},
    ),
    "vit_base": Export(
        _vit_base, {"pixel_values": torch.randn(1, 3, 224, 224)}, ("logits",), 17, dynamic={"pixel_values": ("batch",)}
    ),
    "gpt2": Export(
        _gpt2,
        {"input_ids": _ids(), "attention_mask": _mask()},
        ("logits",),
        18,
        True,
        {"input_ids": TOKENS, "attention_mask": TOKENS},
        # GELU's parts add their own input again, which looks like a residual branch.
        roles={r"c_fc\.weight": "weight 768 1"},
    ),
    "llama_100m": Export(
        _llama_100m,
        {"input_ids": _ids(), "attention_mask": _mask()},
        ("logits",),
        18,
        True,
        {"input_ids": TOKENS, "attention_mask": TOKENS},
    ),
    "t5_small": Export(
        _t5_small,
        {"input_ids": _ids(), "attention_mask": _mask(), "decoder_input_ids": _ids()[:, :16]},
        ("logits",),
        16,
        dynamic={"input_ids": TOKENS, "attention_mask": TOKENS, "decoder_input_ids": ("batch", "decoder_sequence")},
        # T5 has no 1/√d before its softmax: its query weights carry it. Its embedding starts as N(0, 1).
        roles={r"Attention/q/": "weight 512 0.125", r"shared": "embedding 1"},
    ),
    "whisper_encoder": Export(
        _whisper_encoder,
        {"input_features": torch.randn(1, 80, 3000)},
        ("last_hidden_state",),
        17,
    ),
    "swin_tiny": Export(_swin_tiny, {"pixel_values": torch.randn(1, 3, 224, 224)}, ("logits",), 18, True),
    # As the older exporter writes it: shape arithmetic everywhere, five times as many nodes.
    "swin_tiny_traced": Export(
        _swin_tiny,
        {"pixel_values": torch.randn(2, 3, 224, 224)},
        ("logits",),
        17,
        dynamic={"pixel_values": ("batch",)},
    ),
    "mobilenet_v2": Export(
        networks.MobileNetV2,
        {"pixel_values": torch.randn(2, 3, 224, 224)},
        ("logits",),
        13,
        dynamic={"pixel_values": ("batch",)},
        keep_batch_norm=True,
    ),
    "lstm": Export(
        _lstm,
        {"input_ids": _ids()},
        ("logits",),
        14,
        dynamic={"input_ids": TOKENS},
        roles={r"embedding": "embedding 1"},
    ),
    "unet": Export(
        networks.UNet,
        {"sample": torch.randn(2, 3, 64, 64), "timestep": torch.tensor([10, 900])},
        ("noise",),
        18,
        True,
        {"sample": ("batch",), "timestep": ("batch",)},
    ),
    "detector": Export(
        networks.Detector,
        {"pixel_values": torch.randn(2, 3, 224, 224)},
        ("boxes", "logits"),
        17,
        dynamic={"pixel_values": ("batch",)},
    ),
    "if_loop": Export(
        _if_loop,
        {"x": torch.randn(2, 256), "steps": torch.tensor(3)},
        ("y",),
        16,
        dynamic={"x": ("batch",)},
        # Their sum goes into a tanh: no residual branch.
        roles={r"cells\.\d+\.(input|state)\.weight": "weight 256 1"},
        scripted=True,
    ),
}


def randomise(model: nn.Module) -> None:
    """Give vectors the recipe's values, so that those small enough to stay inline follow it too.

    Tables that start as zeros (Swin's relative positions) get values, so that they are told from masks.
    """
    for module in model.modules():
        normalises = "Norm" in type(module).__name__
        for name, vector in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
            if not vector.is_floating_point() or (vector.ndim != 1 and bool(vector.any())):
                continue
            if name == "weight" and normalises:
                nn.init.normal_(vector, 1.0, 0.1)
            elif name == "running_var":
                vector.data.copy_(torch.exp(0.1 * torch.randn_like(vector)))
            elif name == "running_mean" or (name == "bias" and normalises):
                nn.init.normal_(vector, 0.0, 0.1)
            elif "bias" in name or vector.ndim > 1:
                nn.init.normal_(vector, 0.0, 0.02)


def write_torch(export: Export, model: nn.Module, path: Path) -> None:
    """Run the exporter that `export` names."""
    names, arguments = list(export.inputs), tuple(export.inputs.values())
    common = {"input_names": names, "output_names": list(export.outputs), "opset_version": export.opset}
    axes = {name: dict(enumerate(export.dynamic.get(name, ()))) for name in names}
    if export.dynamo:
        shapes = tuple(axes[name] for name in names)
        nested = (shapes,) if isinstance(model, Positional) else shapes
        torch.onnx.export(model, arguments, path, dynamo=True, dynamic_shapes=nested, external_data=False, **common)
        return
    training = torch.onnx.TrainingMode.PRESERVE if export.keep_batch_norm else torch.onnx.TrainingMode.EVAL
    if export.scripted:
        arguments = tuple(int(value) if value.ndim == 0 else value for value in arguments)
    torch.onnx.export(
        model,
        arguments,
        path,
        dynamo=False,
        dynamic_axes={name: labels for name, labels in axes.items() if labels},
        training=training,
        do_constant_folding=not export.keep_batch_norm,
        **common,
    )


def export_graph(name: str, layers: int | None) -> Path:
    """Export one architecture, strip it, and write it to graphs/."""
    export = EXPORTS[name]
    torch.manual_seed(0)
    model = export.make(layers).eval()
    randomise(model)
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        path = Path(folder) / "model.onnx"
        write_torch(export, model, path)
        onnx.checker.check_model(path, full_check=True)
        graph = onnx.load(path)
    roles = strip(graph, export.roles)
    target = GRAPHS / (f"{name}.onnx" if layers is None else f"{name}.{layers}layers.onnx")
    target.write_bytes(graph.SerializeToString(deterministic=True))
    kinds = sorted({role.split()[0] for role in roles.values()})
    print(f"{target.name}: {target.stat().st_size:,} bytes, {len(graph.graph.node)} nodes, stubs: {', '.join(kinds)}")
    return target


def main(names: list[str]) -> None:
    """Export the named architectures, or all, at full depth and with two layers."""
    GRAPHS.mkdir(exist_ok=True)
    for name in names or EXPORTS:
        for layers in (2, None):
            export_graph(name, layers)


if __name__ == "__main__":
    main(sys.argv[1:])
