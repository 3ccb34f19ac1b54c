"""AutoCast's own functions, with its parameters and defaults."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx
from onnx.external_data_helper import convert_model_to_external_data

from autocast_core.config import ConversionConfig
from autocast_core.errors import ConfigError
from autocast_core.model import SavedModel, runtime_model
from autocast_core.model.protobuf.skeleton import LARGE_BYTES
from autocast_core.options import strings
from autocast_core.pipeline.convert import convert_file, convert_in_memory
from autocast_core.pipeline.job import Job
from autocast_core.pipeline.other_tools.model_argument import check_model_argument
from autocast_core.precision import Precision, parse_low_types
from autocast_core.process.log_setup import LOGGER, configure_logging_if_nobody_has
from autocast_core.verify import Verified

_LOWEST_OPSET_OF_F16 = 19


def convert_to_mixed_precision(
    onnx_path: str | Path,
    low_precision_type: str | Sequence[str] = "fp16",
    nodes_to_exclude: Sequence[str] | None = None,
    op_types_to_exclude: Sequence[str] | None = None,
    nodes_to_include: Sequence[str] | None = None,
    op_types_to_include: Sequence[str] | None = None,
    data_max: float | None = 512,
    init_max: float | None = 65504,
    keep_io_types: bool | Sequence[str] = False,
    calibration_data: str | Path | Mapping[str, Any] | None = None,
    custom_rule: Any = None,
    init_conversion_max_bytes: int | None = None,
    providers: Sequence[str] | None = None,
    trt_plugins: Sequence[str] | None = None,
    trt_plugins_precision: Sequence[str] | None = None,
    max_depth_of_reduction: int | None = None,
    opset: int | None = None,
    use_standalone_type_inference: bool = False,
) -> onnx.ModelProto:
    """Convert a model file to mixed precision and return it, with AutoCast's parameters and defaults.

    `low_precision_type` may also be ``fp16,bf16``, or a sequence of both: BF16 for nodes that need FP32's range.

    Above 2 GB, which no single file holds, the returned model holds its weights in memory, marked as external data:
    ``onnx.save`` writes them beside the model, with and without ``save_as_external_data``. `convert_file` writes such
    models without holding their weights. Raises as `convert_file`.
    """
    configure_logging_if_nobody_has()
    precision, range_precision = parse_low_types(low_precision_type)
    config = ConversionConfig(
        precision=precision,
        range_precision=range_precision,
        nodes_to_exclude=strings("nodes_to_exclude", nodes_to_exclude),
        op_types_to_exclude=strings("op_types_to_exclude", op_types_to_exclude),
        nodes_to_include=strings("nodes_to_include", nodes_to_include),
        op_types_to_include=strings("op_types_to_include", op_types_to_include),
        data_max=float("inf") if data_max is None else float(data_max),
        init_max=float("inf") if init_max is None else float(init_max),
        init_conversion_max_bytes=init_conversion_max_bytes,
        max_depth_of_reduction=max_depth_of_reduction,
        keep_io_types=keep_io_types if isinstance(keep_io_types, bool) else strings("keep_io_types", keep_io_types),
        lower_all_io=True,
        opset=opset,
        providers=strings("providers", providers),
        trt_plugins=strings("trt_plugins", trt_plugins),
        trt_plugins_precision=strings("trt_plugins_precision", trt_plugins_precision),
        use_standalone_type_inference=use_standalone_type_inference,
        custom_rule=custom_rule,
    )
    with tempfile.TemporaryDirectory(prefix="autocast-") as folder:
        path = Path(folder) / "model.onnx"
        return read_converted(convert_file(onnx_path, path, config, calibration=calibration_data).output)


def read_converted(output: SavedModel) -> onnx.ModelProto:
    """The model that a conversion wrote, as `convert_to_mixed_precision` returns it."""
    model: onnx.ModelProto = onnx.load(output.path)
    if output.data_path is not None:
        # Without this mark onnx.save would try one file; a reference to our file would be lost with it.
        convert_model_to_external_data(model, size_threshold=LARGE_BYTES, convert_attribute=True)
    return model


def convert_to_f16(
    model: onnx.ModelProto,
    low_precision_type: str = "fp16",
    keep_io_types: bool = True,
    op_block_list: Sequence[str] = (),
    tensor_block_dict: Mapping[str, Mapping[str, Sequence[int]]] | None = None,
    trt_plugins: Sequence[str] | None = None,
    use_standalone_type_inference: bool = False,
    opset: int | None = None,
) -> onnx.ModelProto:
    """Convert every node that may be low, without looking at data, with AutoCast's parameters and defaults.

    Operator types in `op_block_list` stay FP32; `tensor_block_dict` leaves operands of an operator type in FP32, by
    their indices under ``inp`` and ``out``. The opset is at least 19 for FP16, from which on Q/DQ take 16-bit scales,
    and 22 for BF16; a lower `opset` is raised with a warning. `model` is not modified. Raises as `convert_file`.
    """
    check_model_argument(model)
    configure_logging_if_nobody_has()
    precision, range_precision = parse_low_types(low_precision_type)
    if range_precision is not None:
        raise ConfigError("convert_to_f16 looks at no data and decides nothing by range: give fp16 or bf16")
    config = ConversionConfig(
        precision=precision,
        op_types_to_exclude=strings("op_block_list", op_block_list),
        data_max=float("inf"),
        init_max=float("inf"),
        keep_io_types=keep_io_types,
        lower_all_io=True,
        trt_plugins=strings("trt_plugins", trt_plugins),
        use_standalone_type_inference=use_standalone_type_inference,
        opset=_opset_of_f16(model, precision, opset),
        small_values=False,
        operands_to_exclude=dict(tensor_block_dict or {}),
    )
    verified = convert_in_memory(Job(model, config))[Verified]
    with runtime_model(verified.structure) as converted:
        proto: onnx.ModelProto = onnx.ModelProto.FromString(converted.bytes)
        return proto


def _opset_of_f16(model: onnx.ModelProto, precision: Precision, wanted: int | None) -> int | None:
    """The option `opset` of a conversion by `convert_to_f16`; None where the model's own is high enough."""
    lowest = max(_LOWEST_OPSET_OF_F16, precision.minimum_opset)
    if wanted is not None and wanted < lowest:
        LOGGER.warning("opset %d is below %d, the minimum for %s here: using %d", wanted, lowest, precision, lowest)
    own = next((each.version for each in model.opset_import if each.domain in ("", "ai.onnx")), 0)
    return max(wanted or 0, lowest) if wanted is not None or own < lowest else None
