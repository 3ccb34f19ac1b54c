"""What happens to a model between export and report: optimised, raised, renamed, converted to FP16."""

from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType

import onnx
import onnx.version_converter
import onnxruntime

from autocast_core.pipeline.other_tools.onnxconverter_common import convert_float_to_float16
from tests.autocast_core.diagnose.diagnosed import whole_fp16

Disguise = Callable[[onnx.ModelProto], onnx.ModelProto]


def optimised(source: onnx.ModelProto) -> onnx.ModelProto:
    """As ONNX Runtime writes it after its extended optimisations: constants folded, norms, GELU and others fused."""
    with TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.optimized_model_filepath = str(Path(folder, "optimised.onnx"))
        options.log_severity_level = 4
        options.intra_op_num_threads = 1
        onnxruntime.InferenceSession(source.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return onnx.load(options.optimized_model_filepath)


def raised(source: onnx.ModelProto) -> onnx.ModelProto:
    """At opset 21."""
    return onnx.version_converter.convert_version(source, 21)


def renamed(source: onnx.ModelProto) -> onnx.ModelProto:
    """With other names for everything but inputs and outputs."""
    found = onnx.ModelProto()
    found.CopyFrom(source)
    graph = found.graph
    kept = {port.name for port in (*graph.input, *graph.output)} | {""}
    names: dict[str, str] = {}
    for tensor in graph.initializer:
        tensor.name = names.setdefault(tensor.name, f"p{len(names)}")
    for number, node in enumerate(graph.node):
        node.name = f"op{number}"
        for values in (node.input, node.output):
            for index, name in enumerate(values):
                if name not in kept:
                    values[index] = names.setdefault(name, f"t{len(names)}")
    del graph.value_info[:]
    return found


def converted(source: onnx.ModelProto) -> onnx.ModelProto:
    """By onnxconverter-common's function, whose limits clamp weights; inputs and outputs stay FP32."""
    return convert_float_to_float16(source, keep_io_types=True, check_fp16_ready=False)


def _chain(*steps: Disguise) -> Disguise:
    def run(source: onnx.ModelProto) -> onnx.ModelProto:
        for step in steps:
            source = step(source)
        return source

    return run


FP16: Mapping[str, Disguise] = MappingProxyType(
    {
        "fp16": whole_fp16,
        "renamed": _chain(whole_fp16, renamed),
        "optimised": _chain(optimised, whole_fp16),
        "converted": converted,
        "raised_renamed": _chain(raised, whole_fp16, renamed),
        "optimised_renamed": _chain(optimised, whole_fp16, renamed),
    }
)
FP32: Mapping[str, Disguise] = MappingProxyType(
    {"renamed_fp32": renamed, "optimised_fp32": optimised, "raised_fp32": raised}
)
