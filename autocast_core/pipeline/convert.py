"""The stages of a conversion in order, nothing else: the core's only composition root."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir
from msgspec import structs

from autocast_core.apply import apply_in_place, apply_plan
from autocast_core.calibrate import Statistics, calibrate, scan_weights
from autocast_core.config import ConversionConfig, Precision
from autocast_core.data import Batches, input_specs, open_batches, table_sizes
from autocast_core.decide import decide
from autocast_core.decide.reuse import reuse_plan
from autocast_core.errors import BackendError, UnconvertibleError
from autocast_core.model import (
    SavedModel,
    files_digest,
    load_model,
    load_proto,
    model_files,
    open_model,
    runtime_model,
    save_model,
)
from autocast_core.model.rounding import RoundBlock, round_block
from autocast_core.plan import PrecisionPlan
from autocast_core.precision import low_precision
from autocast_core.process.garbage_collector import collector_paused
from autocast_core.progress import Progress, ProgressCallback, silent
from autocast_core.runtime import Runtime
from autocast_core.sanitize import Sanitized, sanitize, sanitize_in_place
from autocast_core.verify import ModelInterface, Verified, check_source, load_checked, model_interface, verify
from autocast_core.version import VERSION

logger = logging.getLogger(__name__)

UPGRADE_TOLERANCE = 1e-3
"""Largest relative L2 between a model's outputs before and after sanitize where that upgraded the opset."""


@dataclass(frozen=True)
class Conversion:
    """What a conversion made: the plan as applied, the written files, counts, and seconds per stage.

    `source` are the source's files, the model first; bytes are those of all files of the model.
    """

    plan: PrecisionPlan
    output: SavedModel
    source: tuple[Path, ...]
    casts_inserted: int
    bytes_before: int
    bytes_after: int
    warnings: tuple[str, ...] = ()
    timings: Mapping[str, float] = field(default_factory=dict)

    @cached_property
    def source_digest(self) -> str:
        """sha256 (hex) of the source's files as model.files_digest says; read when first asked for."""
        return files_digest(self.source[0].parent, self.source)


@collector_paused()
def convert_file(
    src: str | Path,
    dst: str | Path,
    config: ConversionConfig | None = None,
    *,
    calibration: str | Path | Mapping[str, Any] | None = None,
    plan: PrecisionPlan | None = None,
    external_data: bool | None = None,
    progress: ProgressCallback = silent,
) -> Conversion:
    """Convert the model at `src` and write it to `dst`, streaming: weights are never all in memory.

    With a `plan` nothing is calibrated or classified; the plan is checked against the model's structure and weights.
    Raises the errors of the stages (InputError and its children for what the user gave, VerificationError for a defect
    of ours); nothing is written then.
    """
    config = config or ConversionConfig()
    timings: dict[str, float] = {}
    with _timed(timings, "load", progress):
        file = open_model(src)
        files, model = model_files(file), load_checked(file)
        interface = model_interface(model)
    runtime = open_runtime(config)
    with _timed(timings, "sanitize", progress):
        sanitized = sanitize_in_place(model, _sanitize_config(config, plan))
    plan = plan_sanitized(sanitized, config, runtime, lambda: load_model(file), calibration, plan, progress, timings)
    with _timed(timings, "apply", progress):
        applied = apply_in_place(model, plan)
    with _timed(timings, "verify", progress):
        verified = verify_converted(applied.model, interface, applied.plan, runtime, lambda: load_model(file))
    with _timed(timings, "write", progress):
        output = save_model(
            verified.structure,
            dst,
            external_data=external_data,
            progress=progress,
            round_blocks=open_rounding(config.precision),
        )
    logger.info("%s", applied.plan.summary())
    return Conversion(
        plan=applied.plan,
        output=output,
        source=files,
        casts_inserted=applied.casts_inserted,
        bytes_before=sum(each.stat().st_size for each in files),
        bytes_after=output.bytes,
        warnings=(*sanitized.warnings, *applied.plan.warnings),
        timings=timings,
    )


def make_plan(
    source: ir.Model,
    config: ConversionConfig,
    runtime: Runtime,
    calibration: str | Path | Mapping[str, Any] | None = None,
    plan: PrecisionPlan | None = None,
    progress: ProgressCallback = silent,
    timings: dict[str, float] | None = None,
) -> tuple[Sanitized, PrecisionPlan]:
    """The sanitized copy of `source` and the plan for it; a given `plan` is fitted to the model instead."""
    timings = {} if timings is None else timings
    with _timed(timings, "sanitize", progress):
        sanitized = sanitize(source, _sanitize_config(config, plan))
    made = plan_sanitized(sanitized, config, runtime, lambda: source, calibration, plan, progress, timings)
    return sanitized, made


def _sanitize_config(config: ConversionConfig, plan: PrecisionPlan | None) -> ConversionConfig:
    return replace(config, precision=plan.precision) if plan is not None else config


def plan_sanitized(
    sanitized: Sanitized,
    config: ConversionConfig,
    runtime: Runtime,
    original: Callable[[], ir.Model],
    calibration: str | Path | Mapping[str, Any] | None,
    plan: PrecisionPlan | None,
    progress: ProgressCallback,
    timings: dict[str, float],
) -> PrecisionPlan:
    """The plan for a sanitized model; `original` gives the model before, which an opset upgrade is compared with."""
    for warning in sanitized.warnings:
        logger.warning("%s", warning)
    model = sanitized.model
    batches = calibration_batches(model, config, calibration)
    if sanitized.opset_changed and batches is not None:
        with _timed(timings, "check_upgrade", progress):
            check_upgrade(original(), model, batches, runtime)
    if plan is not None:
        with _timed(timings, "classify", progress):
            return reuse_plan(model, plan, config.init_max, progress)
    with _timed(timings, "calibrate", progress):
        statistics = calibrate_model(model, config, runtime, batches, progress)
    with _timed(timings, "classify", progress):
        weights = scan_weights(model, config.precision, progress)
        made = decide(model, statistics, weights, config, sanitized.changes)
    if config.target is not None:
        with _timed(timings, "fit", progress):
            made = fit(model, made, config, batches)
    return structs.replace(made, engine_version=engine_version())


def fit(
    model: ir.Model, plan: PrecisionPlan, config: ConversionConfig, batches: Batches | None = None
) -> PrecisionPlan:
    """`plan` for a sanitized model as ``config.target`` accepts it; dynamic inputs have the shapes of `batches`."""
    from autocast_core.targets.fitting import fit_to_target

    return fit_to_target(model, plan, config, batches).plan


def calibration_batches(
    model: ir.Model, config: ConversionConfig, calibration: str | Path | Mapping[str, Any] | None
) -> Batches | None:
    """The batches to calibrate a sanitized model with: the user's, else random; None where no rule would look."""
    if calibration is None and config.data_max == float("inf"):
        return None
    return data_batches(model, config, calibration)


def data_batches(model: ir.Model, config: ConversionConfig, data: str | Path | Mapping[str, Any] | None) -> Batches:
    """The batches of `data` for `model`, in the sizes that `config` says; None: seeded random data."""
    return open_batches(
        data,
        input_specs(model),
        batch_size=config.batch_size,
        shapes=config.shapes,
        seed=config.seed,
        table_sizes=table_sizes(model),
    )


def calibrate_model(
    model: ir.Model,
    config: ConversionConfig,
    runtime: Runtime,
    batches: Batches | None,
    progress: ProgressCallback = silent,
) -> Statistics:
    """The statistics of a sanitized model's activations over `batches`; none without batches."""
    if batches is None:
        return Statistics()
    return calibrate(model, batches, runtime, config.precision, small_values=config.small_values, progress=progress)


def check_upgrade(source: ir.Model, sanitized: ir.Model, batches: Batches, runtime: Runtime) -> None:
    """Compare the outputs before and after an opset upgrade; UnconvertibleError where they differ.

    Where the runtime cannot run one of them, a warning says that the upgrade was not checked.
    """
    from autocast_core.evaluate import compare

    try:
        before, after = runtime.open(source, few_runs=True), runtime.open(sanitized, few_runs=True)
        fidelity = compare(before, after, batches)
    except BackendError as error:
        logger.warning("the opset upgrade could not be checked numerically: %s", error)
        return
    worst = fidelity.worst.rel_l2
    if worst > UPGRADE_TOLERANCE:
        opset = sanitized.opset_imports.get("")
        raise UnconvertibleError(
            f"the upgrade to opset {opset} changes the outputs (relative L2 {worst:.2e}); export the model at that "
            f"opset, or give --opset with the model's own"
        )


def verify_converted(
    model: ir.Model,
    interface: ModelInterface,
    plan: PrecisionPlan,
    runtime: Runtime,
    original: Callable[[], ir.Model] | None = None,
) -> Verified:
    """Let the checker, the interface and a runtime judge the converted model; raises as verify does.

    ONNX Runtime's CPU provider has next to no BF16 kernels, so only FP16 models are loaded.
    """
    loads = not any(decision.precision == Precision.BF16 for decision in plan.nodes)
    return verify(model, interface, plan, runtime if loads else None, original)


def open_runtime(config: ConversionConfig) -> Runtime:
    """ONNX Runtime with the providers asked for; imported here, opened when first used."""
    from autocast_core.backends.onnxruntime.session import OnnxRuntime

    return OnnxRuntime(config.providers, plugins=config.trt_plugins)


def open_rounding(precision: Precision) -> RoundBlock:
    """What rounds blocks of weights: ONNX Runtime's Cast to FP16, which has the same bits as ours and is faster."""
    if precision is not Precision.FP16:
        return round_block
    from autocast_core.backends.onnxruntime.rounding import OnnxRuntimeRounding

    return OnnxRuntimeRounding()


def engine_version() -> str:
    """The version of this package."""
    return VERSION


def convert_to_mixed_precision(
    onnx_path: str | Path,
    low_precision_type: str = "fp16",
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

    Above 2 GB the returned model refers to an external data file in a new temporary folder, which its
    ``metadata_props`` entry ``autocast.external_data_folder`` names; the folder is the caller's to remove. Raises as
    `convert_file`.
    """
    config = ConversionConfig(
        precision=low_precision(low_precision_type),
        nodes_to_exclude=tuple(nodes_to_exclude or ()),
        op_types_to_exclude=tuple(op_types_to_exclude or ()),
        nodes_to_include=tuple(nodes_to_include or ()),
        op_types_to_include=tuple(op_types_to_include or ()),
        data_max=float("inf") if data_max is None else float(data_max),
        init_max=float("inf") if init_max is None else float(init_max),
        init_conversion_max_bytes=init_conversion_max_bytes,
        max_depth_of_reduction=max_depth_of_reduction,
        keep_io_types=keep_io_types if isinstance(keep_io_types, bool) else tuple(keep_io_types),
        opset=opset,
        providers=tuple(providers or ()),
        trt_plugins=tuple(trt_plugins or ()),
        trt_plugins_precision=tuple(trt_plugins_precision or ()),
        use_standalone_type_inference=use_standalone_type_inference,
        custom_rule=custom_rule,
    )
    folder = tempfile.mkdtemp(prefix="autocast-")
    path = Path(folder) / "model.onnx"
    try:
        conversion = convert_file(onnx_path, path, config, calibration=calibration_data)
        model = onnx.load(path, load_external_data=False)
    except BaseException:
        _remove(Path(folder))
        raise
    if conversion.output.data_path is None:
        _remove(Path(folder))
    else:
        model.metadata_props.add(key="autocast.external_data_folder", value=folder)
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
    their indices under ``inp`` and ``out``. `model` is not modified. Raises as `convert_file`.
    """
    config = ConversionConfig(
        precision=low_precision(low_precision_type),
        op_types_to_exclude=tuple(op_block_list),
        data_max=float("inf"),
        init_max=float("inf"),
        keep_io_types=keep_io_types,
        trt_plugins=tuple(trt_plugins or ()),
        use_standalone_type_inference=use_standalone_type_inference,
        opset=opset,
        small_values=False,
        operands_to_exclude=dict(tensor_block_dict or {}),
    )
    source = load_proto(model)
    check_source(source)
    runtime = open_runtime(config)
    sanitized, plan = make_plan(source, config, runtime)
    applied = apply_plan(sanitized.model, plan)
    verified = verify_converted(applied.model, model_interface(source), applied.plan, runtime, lambda: source)
    with runtime_model(verified.structure) as converted:
        return onnx.ModelProto.FromString(converted.bytes)


def _remove(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()


@contextmanager
def _timed(timings: dict[str, float], stage: str, progress: ProgressCallback) -> Iterator[None]:
    progress(Progress(stage, 0.0))
    started = time.perf_counter()
    yield
    timings[stage] = round(time.perf_counter() - started, 4)
