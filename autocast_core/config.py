"""What a conversion is asked to do. Every option is declared here, with all that is known of it, and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from autocast_core.engine.devices import DEFAULT_DEVICE, devices
from autocast_core.name_patterns import check_name_pattern
from autocast_core.options import check_operands, check_profile, declared, option, options_of
from autocast_core.precision import LOW_TYPES, LowTypes, Precision, parse_low_types, types_text

__all__ = ["OPTIONS", "ConversionConfig", "Precision"]


@dataclass(frozen=True)
class ConversionConfig:
    """One conversion's options; names, meanings and defaults follow AutoCast where it has them.

    Raises ConfigError when an option has a value that cannot be used.
    """

    precision: Precision = option(
        Precision.FP16,
        "The 16-bit type; fp16,bf16: FP16, and BF16 for nodes that need more range than FP16 has.",
        flags=("--low_precision_type", "-t"),
        metavar="TYPE",
        choices=tuple(map(types_text, LOW_TYPES)),
        autocast="low_precision_type",
    )
    range_precision: Precision | None = option(
        None,
        "The second 16-bit type where `precision` names two.",
        choices=("bf16",),
        python_only=True,
    )
    nodes_to_exclude: tuple[str, ...] = option(
        (),
        "Regular expressions of names of nodes to keep in FP32.",
        flags=("--nodes_to_exclude", "-ne", "-n"),
        nargs="*",
        metavar="REGEX",
        autocast="nodes_to_exclude",
    )
    op_types_to_exclude: tuple[str, ...] = option(
        (),
        "Operator types to keep in FP32.",
        flags=("--op_types_to_exclude", "-ope", "-op"),
        nargs="*",
        metavar="OP",
        autocast="op_types_to_exclude",
    )
    nodes_to_include: tuple[str, ...] = option(
        (),
        "Regular expressions of names of nodes to convert whatever other rules say.",
        flags=("--nodes_to_include", "-ni"),
        nargs="*",
        metavar="REGEX",
        autocast="nodes_to_include",
    )
    op_types_to_include: tuple[str, ...] = option(
        (),
        "Operator types to convert whatever other rules say.",
        flags=("--op_types_to_include", "-opi"),
        nargs="*",
        metavar="OP",
        autocast="op_types_to_include",
    )
    data_max: float = option(
        512.0,
        "Keep a node in FP32 whose inputs or outputs have a larger magnitude; inf: no limit and no calibration.",
        flags=("--data_max",),
        at_least=0,
        autocast="data_max",
    )
    headroom: float = option(
        1.0,
        "How many times larger than in calibration a tensor, or the argument of Exp, Pow and products, may get"
        " before its type overflows. 1: calibration has seen everything, as for AutoCast.",
        flags=("--headroom",),
        at_least=1,
        spec_default=8.0,
    )
    init_max: float = option(
        65504.0,
        "Keep a node in FP32 whose initializers have a larger magnitude; inf: no limit.",
        flags=("--init_max",),
        at_least=0,
        autocast="init_max",
    )
    init_conversion_max_bytes: int | None = option(
        None,
        "Cast initializers of more FP32 bytes at run time instead of storing them in 16 bits.",
        flags=("--init_conversion_max_bytes",),
        metavar="N",
        at_least=0,
        autocast="init_conversion_max_bytes",
    )
    max_depth_of_reduction: int | None = option(
        None,
        "Keep a node in FP32 whose output elements are sums of more addends. Default: no limit.",
        flags=("--max_depth_of_reduction",),
        metavar="N",
        at_least=0,
        autocast="max_depth_of_reduction",
    )
    upcast_attention: bool = option(
        False,
        "FP16: cast Q, K, V and the probabilities up for the products of attention cores, for targets that add up"
        " in FP16; a core stays one kernel.",
        flags=("--upcast_attention",),
    )
    keep_io_types: bool | tuple[str, ...] = option(
        False,
        "Keep the types of all graph inputs and outputs, or of those named.",
        flags=("--keep_io_types",),
        nargs="*",
        metavar="NAME",
        autocast="keep_io_types",
    )
    lower_all_io: bool = option(
        False,
        "Give the low type to graph inputs and outputs that only FP32 nodes touch, too, as AutoCast does: its "
        "functions and, by thresholds, its command do. Of those that keep_io_types names, or all, it changes none.",
    )
    opset: int | None = option(
        None,
        "Opset of the output. Default: the model's, at least 13 for FP16 and 22 for BF16.",
        flags=("--opset",),
        metavar="N",
        at_least=1,
        autocast="opset",
    )
    max_ir_version: int = option(
        10,
        "Highest IR version of the output, but where its opset needs a later one; a lower one stays.",
        flags=("--max_ir_version",),
        metavar="N",
        at_least=3,
    )
    small_values: bool = option(
        True,
        "Keep a node in FP32 whose tensors lose too much to FP16's subnormal range.",
    )
    clamp_masks: bool = option(
        True,
        "Replace additive attention masks beyond the low type's range by a value that stays finite.",
    )
    fuse_layer_norm: bool = option(
        True,
        "Fuse decomposed LayerNorm into LayerNormalization.",
    )
    fuse_rms_norm: bool = option(
        False,
        "Fuse decomposed RMSNorm; raises the opset to 23.",
    )
    repair_ranges: bool = option(
        False,
        "Where calibration shows a tensor over data_max, compute it in smaller numbers with the same FP32 result:"
        " the scale of attention in front of its product, residual streams times a power of two.",
        flags=("--repair_ranges",),
        spec_default=True,
    )
    correct_biases: bool = option(
        False,
        "Add to biases what rounding their products' weights takes from mean results over the calibration data,"
        " where a batch that is held out shows a gain.",
        flags=("--correct_biases",),
    )
    decide: str = option(
        "thresholds",
        "How nodes are chosen. thresholds: by rules, as AutoCast does. measured: rules keep nothing that costs more"
        " than it gains, and where the simulated model misses its target, what it needs is kept in FP32.",
        flags=("--decide",),
        choices=("thresholds", "measured"),
        spec_default="measured",
    )
    repair_evaluations: int = option(
        12,
        "Most passes over the data in which a measured decision looks for the nodes to keep; 0: no repair.",
        flags=("--repair_evaluations",),
        metavar="N",
        at_least=0,
    )
    providers: tuple[str, ...] = option(
        (),
        "Execution providers of calibration: cpu, cuda:N, trt. Default: cpu; for custom operators trt before it, "
        "where this machine has it.",
        flags=("--providers",),
        nargs="+",
        metavar="EP",
        autocast="providers",
    )
    trt_plugins: tuple[str, ...] = option(
        (),
        "TensorRT plugin libraries (.so).",
        flags=("--trt_plugins",),
        nargs="+",
        metavar="LIB",
        autocast="trt_plugins",
    )
    custom_op_libraries: tuple[str, ...] = option(
        (),
        "Libraries of custom operators for ONNX Runtime (.so).",
        flags=("--custom_op_libraries",),
        nargs="+",
        metavar="LIB",
    )
    trt_plugins_precision: tuple[str, ...] = option(
        (),
        "Precision of custom operators: `Op:fp16`, or `Op:[fp16,fp32]:[fp16]` for inputs and outputs.",
        flags=("--trt_plugins_precision",),
        nargs="+",
        metavar="OP:TYPE",
        autocast="trt_plugins_precision",
    )
    use_standalone_type_inference: bool = option(
        False,
        "Infer types from operator schemas alone, without shapes.",
        flags=("--use_standalone_type_inference",),
        autocast="use_standalone_type_inference",
    )
    strict_source: bool = option(
        False,
        "Refuse a source that ONNX's checker refuses, in place of repairing what it declares.",
        flags=("--strict_source",),
    )
    segments: int | None = option(
        None,
        "Run the model in so many parts, one after the other, wherever it is run on data, so that memory holds the"
        " weights of one part at a time. Default: as many as the free memory asks for.",
        flags=("--segments",),
        metavar="N",
        at_least=1,
    )
    allow_uncalibrated: bool = option(
        False,
        "Decide by the rules that need no data, with a warning, where something keeps calibration data that was"
        " given from being used, in place of an error.",
        flags=("--allow_uncalibrated",),
    )
    shapes: Mapping[str, tuple[int, ...]] = field(
        default_factory=dict,
        metadata=declared(
            "Shapes of dynamic inputs for random data, for example `1x128`.",
            flags=("--shapes",),
            nargs="+",
            metavar="NAME:1x128",
        ),
    )
    batch_size: int = option(
        1,
        "Samples in a batch of data with a dynamic batch dimension.",
        at_least=1,
    )
    seed: int = option(
        0,
        "Seed of random data.",
    )
    class_outputs: tuple[str, ...] = option(
        (),
        "Outputs whose last dimension are scores of classes, for the metrics of classes. Default: known by name, "
        "Softmax or a last linear layer.",
    )
    judges: tuple[str, ...] = option(
        (),
        "Judges of the task, for example `boxes:layout=yolov8`: boxes, masks, tokens, embeddings, ranking, depth, "
        "speech. Default: those that gates name, and those that the outputs' names leave no doubt about.",
    )
    accumulate: str = option(
        "fp32",
        "Also measure a bound on what engines may do inside nodes. native: norms and reductions add up in their"
        " input's type; fp16: products too.",
        choices=("fp32", "native", "fp16"),
    )
    target: str | None = option(
        None,
        "Fit the plan to this engine: what it refuses changes its precision, in at most eight rounds.",
        flags=("--target",),
        choices=("tensorrt",),
    )
    device: str = option(
        DEFAULT_DEVICE,
        "Device on which the time of a built engine is estimated.",
        choices=tuple(devices()),
    )
    fp32_engine: bool = option(
        False,
        "Also build an engine of the FP32 model, to show its kernels and estimated time beside the mixed one's.",
    )
    extra_traffic: float = option(
        0.02,
        "The share of memory traffic that computing in FP32 inside kernels may add, where decide is measured and"
        " the target is tensorrt; 0: only what adds none.",
        flags=("--extra_traffic",),
        at_least=0,
    )
    profiles: Mapping[str, tuple[tuple[int, ...], ...]] = field(
        default_factory=dict,
        metadata=declared("Smallest, usual and largest shape of dynamic inputs in TensorRT. Default: as in the data."),
    )
    workspace_bytes: int | None = option(
        None,
        "Most scratch memory of an engine, in bytes.",
        above=0,
    )
    timing_cache: str | None = option(
        None,
        "File in which classic TensorRT keeps what it timed.",
    )
    custom_rule: Any = option(
        None,
        "A rule of your own, asked after those that bind: an object with `name` and `check`, or NodeRuleBase's.",
        autocast="custom_rule",
        python_only=True,
    )
    recipe: Any = option(
        None,
        "What was learnt about the model's family: a recipe of the library by name; in Python and on the command"
        " line also a file of one.",
    )
    operands_to_exclude: Mapping[str, Mapping[str, Sequence[int]]] = field(
        default_factory=dict,
        metadata=declared(
            "Operands to leave in FP32: per operator type the indices under `inp` and `out`, as the parameter "
            "`tensor_block_dict` of AutoCast's `convert_to_f16`.",
            python_only=True,
        ),
    )

    def __post_init__(self) -> None:
        precision, second = parse_low_types(self.precision if self.range_precision is None else self.low_types)
        object.__setattr__(self, "precision", precision)  # also of a string or of two names
        object.__setattr__(self, "range_precision", second)
        for each in OPTIONS.values():
            each.check(getattr(self, each.name))
        for pattern in (*self.nodes_to_exclude, *self.nodes_to_include):
            check_name_pattern(pattern)
        for name, shapes in self.profiles.items():
            check_profile(name, shapes)
        for op_type, block in self.operands_to_exclude.items():
            check_operands(op_type, block)

    @property
    def low_types(self) -> LowTypes:
        """The 16-bit types that nodes may take."""
        return (self.precision,) if self.range_precision is None else (self.precision, self.range_precision)

    def keeps_io_type(self, name: str) -> bool:
        """Whether graph input or output `name` must keep its type."""
        return self.keep_io_types if isinstance(self.keep_io_types, bool) else name in self.keep_io_types


OPTIONS = options_of(ConversionConfig)
"""The options of the converter by name."""
