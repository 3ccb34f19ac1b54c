"""A job: one model to work on, what is asked of it, and what all stages share while they do."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx
import onnx_ir as ir

from autocast_core.config import ConversionConfig, Precision
from autocast_core.data import Batches, input_specs, open_batches, table_sizes
from autocast_core.errors import ConfigError
from autocast_core.model import ModelFile, ModelRef, ModelSource, load_model, load_proto
from autocast_core.model.rounding import RoundBlock, round_block
from autocast_core.pipeline.cache import ArtifactCache, artifact_cache
from autocast_core.progress import Progress, ProgressCallback, silent
from autocast_core.runtime import Runtime

if TYPE_CHECKING:
    from autocast_core.backends.segments import Lockstep
    from autocast_core.evaluate import AskedGates

Data = str | Path | tuple[Path, ...] | Mapping[str, Any] | None
"""A .npz file, a folder of them, Polygraphy JSON, several files, or arrays by input name; None: seeded random data."""


def files_of_data(data: Data) -> tuple[Path, ...]:
    """The files that `data` may be read from: the file, or all in the folder; none for arrays and random data."""
    if isinstance(data, tuple):
        return data
    if not isinstance(data, str | Path):
        return ()
    path = Path(data)
    return tuple(path.iterdir()) if path.is_dir() else (path,)


@dataclass(frozen=True)
class Job:
    """The source, the options, the data, and what the stages share.

    `source` is a file, a reference to one, or a model in memory. `gates` are what the converted model must
    reach (None: the default gates). Without `allow_nonfinite`, NaN or infinity in the data is an error. `timings`
    receives the seconds that each stage took, also where it raised. Its runtime is opened when it is first used, with
    `threads` within an operator (None: one a core).
    """

    source: ModelSource | onnx.ModelProto
    config: ConversionConfig
    calibration: Data = None
    evaluation: Data = None
    metric: str | None = None
    gates: AskedGates | None = None
    allow_nonfinite: bool = True
    progress: ProgressCallback = silent
    timings: MutableMapping[str, float] = field(default_factory=dict)
    cache: ArtifactCache = field(default_factory=artifact_cache)
    threads: int | None = None

    def __post_init__(self) -> None:
        """ConfigError for a source or options of another kind, which callers without types may give."""
        if not isinstance(self.source, str | Path | ModelRef | ModelFile | onnx.ModelProto):
            given = type(self.source).__name__
            raise ConfigError(f"the model is a {given}: give the path of an .onnx file, or an onnx.ModelProto")
        if not isinstance(self.config, ConversionConfig):
            raise ConfigError(f"the config is a {type(self.config).__name__}: give a ConversionConfig")

    @cached_property
    def runtime(self) -> Runtime:
        """ONNX Runtime with the execution providers and plugins that were asked for, in segments where it must be."""
        return open_runtime(self.config, self.threads, self.progress)

    def runtime_in(self, lockstep: Lockstep) -> Runtime:
        """The job's runtime, whose sessions in segments join `lockstep`."""
        from autocast_core.backends.segments import SegmentedRuntime

        runtime = self.runtime
        return replace(runtime, lockstep=lockstep) if isinstance(runtime, SegmentedRuntime) else runtime

    def original(self) -> ir.Model:
        """The source as it was, with inferred types, repaired; not to be changed. ModelError if it cannot be read."""
        if isinstance(self.source, onnx.ModelProto):
            model = load_proto(self.source)
        else:
            model = self.cache.model(self.source) if isinstance(self.source, ModelRef) else load_model(self.source)
        from autocast_core.sanitize import repair_in_place

        repair_in_place(model, self.config)
        return model

    def reference(self) -> ir.Model:
        """What results are compared with: the source, its BF16 as FP32, since few runtimes have kernels for that."""
        original = self.original()
        from autocast_core.sanitize.float_types.widen import computes_in, widen

        bf16 = frozenset({ir.DataType.BFLOAT16})
        if not computes_in(original, bf16):
            return original
        reference = original.clone()
        widen(reference, bf16, lambda name: False)
        return reference

    def own(self, model: ir.Model) -> ir.Model:
        """`model` for a stage that changes it: a clone where another stage may be handed it too, by the cache, for a
        repair or for its price."""
        again = self.config.decide == "measured" or self.config.accumulate != "fp32"
        return model.clone() if again or self.cache.holds(model) else model

    def batches(self, model: ir.Model, data: Data) -> Batches:
        """The batches of `data` for `model`. DataError where the data does not fit the model's inputs."""
        return open_batches(
            data,
            input_specs(model),
            batch_size=self.config.batch_size,
            shapes=self.config.shapes,
            seed=self.config.seed,
            table_sizes=table_sizes(model),
            finite=not self.allow_nonfinite,
        )

    def calibration_batches(self, model: ir.Model) -> Batches | None:
        """The batches to calibrate a sanitized model with; None where no rule would look at the statistics."""
        if self.calibration is None and self.config.data_max == float("inf"):
            return None
        return self.batches(model, self.calibration)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Announces the stage and notes the seconds that it took."""
        self.progress(Progress(stage, 0.0))
        started = time.perf_counter()
        try:
            yield
        finally:
            taken = self.timings.get(stage, 0.0) + time.perf_counter() - started
            self.timings[stage] = round(taken, 4)


def open_runtime(config: ConversionConfig, threads: int | None = None, progress: ProgressCallback = silent) -> Runtime:
    """ONNX Runtime with the providers that `config` names and so many threads within an operator (None: one a core);
    imported here, opened when first used."""
    from autocast_core.backends.onnxruntime import OnnxRuntime
    from autocast_core.backends.segments import SegmentedRuntime

    plugins, libraries = config.trt_plugins, config.custom_op_libraries
    whole = OnnxRuntime(config.providers, threads, plugins=plugins, custom_op_libraries=libraries)
    return SegmentedRuntime(whole, config.segments, progress)


def open_rounding(precision: Precision) -> RoundBlock:
    """What rounds blocks of weights: ONNX Runtime's Cast to FP16, which has the same bits as ours and is faster."""
    if precision is not Precision.FP16:
        return round_block
    from autocast_core.backends.onnxruntime.rounding import OnnxRuntimeRounding

    return OnnxRuntimeRounding()
