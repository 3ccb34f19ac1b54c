"""onnxconverter-common's functions for FP16, with its parameters and defaults, on AutoCast Flow's pipeline."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from autocast_core.config import ConversionConfig
from autocast_core.errors import ConfigError, DataError, ModelError
from autocast_core.evaluate import TaskMetric
from autocast_core.model import runtime_model
from autocast_core.model.protobuf.proto_nodes import proto_nodes
from autocast_core.model.tensors import ConvertedTensor
from autocast_core.model.traverse import map_tensors
from autocast_core.options import strings
from autocast_core.pipeline.artifacts import Converted
from autocast_core.pipeline.convert import planning_stages
from autocast_core.pipeline.given_plans.apply_plan import apply_plan_in_memory
from autocast_core.pipeline.job import Job
from autocast_core.pipeline.other_tools.model_argument import check_model_argument
from autocast_core.pipeline.stage import Artifacts, Stage, in_this_process, run_stages
from autocast_core.pipeline.stages.apply import APPLY
from autocast_core.pipeline.stages.load import LOAD
from autocast_core.pipeline.stages.plans.search import search_stage
from autocast_core.pipeline.stages.sanitize import SANITIZE
from autocast_core.pipeline.stages.verify import VERIFY
from autocast_core.process.log_setup import configure_logging_if_nobody_has
from autocast_core.search import SearchLimits, SearchRequest, SearchResult
from autocast_core.verify import Verified

LOG = logging.getLogger(__name__)

DEFAULT_OP_BLOCK_LIST = (
    "CumSum", "Max", "Min", "NonMaxSuppression", "RandomUniformLike", "Range", "Resize", "RoiAlign", "TopK", "Upsample",
)  # fmt: skip
"""Operator types that `convert_float_to_float16` keeps in FP32 where no others are given. Those of ai.onnx.ml, which
onnxconverter-common lists too, have no FP16 form and stay FP32 by their schemas."""

Validate = Callable[[Sequence[np.ndarray], Sequence[np.ndarray]], bool]
"""Whether the results of a converted model, the second, are good enough beside the original's; in output order."""


def convert_float_to_float16(
    model: onnx.ModelProto,
    min_positive_val: float = 1e-7,
    max_finite_val: float = 1e4,
    keep_io_types: bool | Sequence[str] = False,
    disable_shape_infer: bool = False,
    op_block_list: Sequence[str] | None = None,
    node_block_list: Sequence[str] | None = None,
    check_fp16_ready: bool = True,
) -> onnx.ModelProto:
    """Convert every node that may be FP16 but those of the block lists; `model` is not modified.

    Weights that become FP16 are limited: those other than 0 to at least `min_positive_val` in magnitude, finite ones to
    at most `max_finite_val`. `node_block_list` has names of nodes; `op_block_list` replaces DEFAULT_OP_BLOCK_LIST. With
    `disable_shape_infer` types come from operator schemas alone. ConfigError for what is no model and limits that
    cannot be; ModelError, unless `check_fp16_ready` is False, for one that has FP16 already; and as `convert_file`.
    """
    check_model_argument(model)
    if not 0 <= min_positive_val <= max_finite_val:
        raise ConfigError(
            f"min_positive_val {min_positive_val} and max_finite_val {max_finite_val}: give 0 <= the first <= the other"
        )
    if check_fp16_ready and _has_fp16(model):
        raise ModelError("the model has FP16 tensors already: give the FP32 original, or check_fp16_ready=False")
    configure_logging_if_nobody_has()
    used = {node.op_type for node in proto_nodes(model.graph.node)}
    blocked = strings("op_block_list", op_block_list) if op_block_list is not None else used & {*DEFAULT_OP_BLOCK_LIST}
    config = ConversionConfig(
        op_types_to_exclude=tuple(sorted(blocked)),
        nodes_to_exclude=tuple(rf"{re.escape(name)}\Z" for name in strings("node_block_list", node_block_list)),
        data_max=float("inf"),
        init_max=float("inf"),
        keep_io_types=keep_io_types if isinstance(keep_io_types, bool) else strings("keep_io_types", keep_io_types),
        lower_all_io=True,
        small_values=False,
        use_standalone_type_inference=disable_shape_infer,
    )
    job = Job(model, config)
    limit = _limit_stage(min_positive_val, max_finite_val)
    return _proto(run_stages((LOAD, *planning_stages(config), APPLY, limit, VERIFY), in_this_process(job)))


def auto_convert_mixed_precision(
    model: onnx.ModelProto,
    feed_dict: Mapping[str, Any],
    validate_fn: Validate | None = None,
    rtol: float | None = None,
    atol: float | None = None,
    keep_io_types: bool = False,
) -> onnx.ModelProto:
    """Convert to FP16 with the fewest nodes in FP32 for which the results are valid; `model` is not modified.

    Valid is what `validate_fn` says of the original's and the converted model's outputs for `feed_dict` (arrays by
    input name), and, where `rtol` or `atol` is given, what ``numpy.allclose`` says; the other is then 1e-5 or 1e-8.
    Results are those of the simulated model, which rounds as FP16 hardware does; every node that is kept was measured.
    ConfigError where nothing says what is valid, or the original's results are not valid beside themselves; DataError
    where the data do not fit; GateError where even the model that keeps all nodes in FP32 gives no valid results.
    """
    check_model_argument(model)
    if validate_fn is None and rtol is None and atol is None:
        raise ConfigError("validate_fn, rtol and atol are all None: give one that says which results are valid")
    configure_logging_if_nobody_has()
    feeds = {name: np.asarray(value) for name, value in feed_dict.items()}
    lengths = [value.shape[0] for value in feeds.values() if value.ndim]
    config = ConversionConfig(
        keep_io_types=keep_io_types, lower_all_io=True, batch_size=max((1, *lengths)), data_max=float("inf")
    )
    job = Job(model, config, evaluation=feeds)
    expected = _results(job, feeds)
    judge = _judge(expected, validate_fn, rtol, atol)
    if not judge(expected):
        raise ConfigError("the original's results are not valid beside themselves: correct validate_fn")
    names = [info.name for info in model.graph.output]
    metric = TaskMetric("validate_fn", lambda outputs, labels: float(judge([outputs[name] for name in names])))
    stage = search_stage(SearchRequest(("task_metric_ratio>=1",), "nodes", metric), SearchLimits(None, None, 1))
    found = run_stages((LOAD, SANITIZE, stage), in_this_process(job))[SearchResult]
    LOG.info("%s", found.plan.summary())
    return _proto(apply_plan_in_memory(job, found.plan))


def _judge(
    expected: Sequence[np.ndarray], validate_fn: Validate | None, rtol: float | None, atol: float | None
) -> Callable[[Sequence[np.ndarray]], bool]:
    """Whether results are valid beside `expected`."""
    relative, absolute = 1e-5 if rtol is None else rtol, 1e-8 if atol is None else atol

    def judge(found: Sequence[np.ndarray]) -> bool:
        if validate_fn is not None and not validate_fn(expected, found):
            return False
        if rtol is None and atol is None:
            return True
        pairs = zip(expected, found, strict=True)
        return all(np.allclose(right, value, relative, absolute) for right, value in pairs)

    return judge


def _results(job: Job, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """What the original computes. DataError for inputs that are missing."""
    original = job.reference()
    initialized = set(original.graph.initializers)
    missing = [value.name for value in original.graph.inputs if value.name not in {*feeds, *initialized}]
    if missing:
        raise DataError(f"feed_dict: no array {missing[0]!r}: give one for each of the model's inputs")
    with closing(job.runtime.open(original, exact=True, few_runs=True)) as session:
        return session.run({name: value for name, value in feeds.items() if name in session.input_names})


def _limit_stage(lowest: float, highest: float) -> Stage:
    """The stage that limits the magnitudes of what became FP16: finite weights other than 0. It says how many."""

    def limited(values: np.ndarray) -> np.ndarray:
        inside = np.copysign(np.clip(np.abs(values), lowest, highest), values).astype(values.dtype)
        return np.where(np.isfinite(values) & (values != 0), inside, values)

    def change(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
        if not isinstance(tensor, ConvertedTensor) or tensor.dtype != ir.DataType.FLOAT16:
            return tensor
        source, values = tensor.source, tensor.source.numpy()
        count = np.count_nonzero((limited(values) != values) & ~np.isnan(values))
        if not count:
            return tensor
        LOG.warning("weight %r: %d elements are limited to magnitudes of %g to %g", source.name, count, lowest, highest)
        lazy = ir.LazyTensor(lambda: ir.Tensor(limited(source.numpy())), source.dtype, shape=tensor.shape)
        return ConvertedTensor(lazy, tensor.dtype, tensor.name)

    def run(job: Job, converted: Converted) -> Converted:
        map_tensors(converted.model, change)
        return converted

    return Stage("limit", run, (Converted,), Converted)


def _proto(made: Artifacts) -> onnx.ModelProto:
    with runtime_model(made[Verified].structure) as converted:
        proto: onnx.ModelProto = onnx.ModelProto.FromString(converted.bytes)
        return proto


def _has_fp16(model: onnx.ModelProto) -> bool:
    """Whether a tensor of the main graph is declared or stored as FP16, or cast to it."""
    half, graph = onnx.TensorProto.FLOAT16, model.graph
    declared = (info.type.tensor_type.elem_type for info in (*graph.input, *graph.output, *graph.value_info))
    stored = (tensor.data_type for tensor in graph.initializer)
    cast = (a.i for node in graph.node if node.op_type == "Cast" for a in node.attribute if a.name == "to")
    return half in {*declared, *stored, *cast}
