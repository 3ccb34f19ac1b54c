"""The spec: everything a conversion is asked to do, as a form the orchestrator can show and a file people can write."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_serializer, field_validator

from autocast_core.errors import AutocastError, ConfigError
from autocast_core.json_values import lossless
from flows.request.yaml_file import KeyPath, read_yaml

if TYPE_CHECKING:
    from autocast_core.config import ConversionConfig

LOCATIONS = ("calibration", "evaluation")
"""Fields that only say where data lies; a conversion's identity holds the digest of the data instead."""
NOT_FOR_THE_CONVERTER = (*LOCATIONS, "output", "name", "gates", "metric", "allow_random", "validation", "isolation")
LONGEST_GATE = 1000


def _shape(value: Any) -> Any:
    """``1x128`` as AutoCast and TensorRT write shapes, or a list of numbers."""
    if isinstance(value, str):
        return value.lower().split("x")
    return value


def _off(value: Any) -> Any:
    """YAML 1.1 reads a bare ``off`` as false."""
    return "off" if value is False else value


def _list(value: Any) -> Any:
    """One text where a list is asked for is a list of one."""
    return (value,) if isinstance(value, str) else value


Texts = Annotated[tuple[str, ...], BeforeValidator(_list)]
Shape = Annotated[tuple[Annotated[int, Field(ge=0)], ...], BeforeValidator(_shape)]
Positive = Annotated[float, Field(gt=0)]


class Spec(BaseModel):
    """One conversion's options. Names, meanings and defaults follow AutoCast where it has them."""

    model_config = ConfigDict(extra="forbid", frozen=True, title="Conversion spec")

    precision: Literal["fp16", "bf16"] = Field("fp16", description="The low precision type.")
    calibration: str | None = Field(
        None, description="Calibration data: .npz file, folder of them or Polygraphy JSON; path, file://, s3://."
    )
    evaluation: str | None = Field(
        None,
        description="Evaluation data, in the same forms; an array `labels` adds task metrics. Default: calibration.",
    )
    output: str | None = Field(
        None, description="Where the model goes: FILE.onnx, a folder, or an s3:// prefix. Default: only the registry."
    )
    name: Annotated[str, Field(min_length=1, pattern=r"^[^/:]+$")] | None = Field(
        None, description="Registered name. Default: the source's name or file stem, plus -fp16 or -bf16."
    )
    gates: Texts = Field(
        ("no_new_nonfinite",), description="What the model must reach, for example `rel_l2<=5e-3`, `top1_drop<=0.001`."
    )
    metric: str | None = Field(
        None,
        description="module:function(outputs, labels) for the gate task_metric_ratio; more is better. Default: top-1.",
    )
    allow_random: bool = Field(False, description="Let gates judge on seeded random data where no data is given.")
    validation: Annotated[Literal["required", "if_available", "off"], BeforeValidator(_off)] = Field(
        "if_available", description="Parse and build the model with TensorRT."
    )

    nodes_to_exclude: Texts = Field((), description="Regular expressions of node names kept in FP32.")
    op_types_to_exclude: Texts = Field((), description="Operator types kept in FP32.")
    nodes_to_include: Texts = Field((), description="Node names lowered whatever the other rules say.")
    op_types_to_include: Texts = Field((), description="Operator types lowered likewise.")
    data_max: Positive = Field(512.0, description="Keep a node whose data exceeds this; inf switches the rule off.")
    init_max: Positive = Field(65504.0, description="Keep a node whose initializers exceed this.")
    init_conversion_max_bytes: Annotated[int, Field(ge=0)] | None = Field(
        None, description="Initializers of more bytes are cast at run time instead of being stored in 16 bits."
    )
    max_depth_of_reduction: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Keep a node whose output elements are sums of more addends than this."
    )
    keep_io_types: bool | Texts = Field(
        False, description="Keep the types of all graph inputs and outputs, or of those named."
    )
    opset: Annotated[int, Field(ge=1)] | None = Field(None, description="Opset of the output. Default: the model's.")
    small_values: bool = Field(True, description="Keep nodes that lose too much to the low type's subnormal range.")
    clamp_masks: bool = Field(True, description="Make attention masks beyond the low type's range finite.")
    fuse_layer_norm: bool = Field(True, description="Fuse decomposed LayerNorm into LayerNormalization.")
    providers: Texts = Field(
        (), description="Execution providers: cpu, cuda:N, trt. Default: cpu; for custom operators trt where it is."
    )
    target: Literal["tensorrt"] | None = Field(
        None, description="Fit the plan to this engine: what it refuses changes its precision, within eight rounds."
    )
    profiles: dict[str, tuple[Shape, Shape, Shape]] = Field(
        default_factory=dict,
        description="Smallest, usual and largest shape of dynamic inputs in TensorRT. Default: as in the data.",
    )
    workspace_bytes: Annotated[int, Field(gt=0)] | None = Field(None, description="Most scratch memory of an engine.")
    timing_cache: str | None = Field(None, description="File in which classic TensorRT keeps what it timed.")
    trt_plugins: Texts = Field((), description="TensorRT plugin libraries.")
    trt_plugins_precision: Texts = Field((), description="`OpType:fp16` or `OpType:[fp32,fp16]:[fp16]`.")
    use_standalone_type_inference: bool = Field(False, description="Infer types without shapes.")
    shapes: dict[str, Shape] = Field(
        default_factory=dict, description="Shapes of dynamic inputs for random data, `1x128` or a list."
    )
    batch_size: Annotated[int, Field(ge=1)] = Field(1, description="Slice of data with a dynamic batch dimension.")
    seed: int = Field(0, description="Seed of random data.")
    isolation: Literal["process", "none"] | None = Field(
        None,
        description="Read and convert the files in a process with limits. Default: process in deployments, else none.",
    )

    @field_validator("gates")
    @classmethod
    def _gates_are_gates(cls, gates: tuple[str, ...]) -> tuple[str, ...]:
        from autocast_core.evaluate.gates import parse_gate

        for gate in gates:
            if len(gate) > LONGEST_GATE:
                raise ValueError(f"a gate has at most {LONGEST_GATE} characters")
            try:
                parse_gate(gate)
            except AutocastError as error:
                raise ValueError(str(error)) from error
        return gates or ("no_new_nonfinite",)

    @field_validator("metric")
    @classmethod
    def _metric_is_a_function(cls, metric: str | None) -> str | None:
        if metric is not None and not re.fullmatch(r"[\w.]+:\w+", metric):
            raise ValueError("give module:function")
        return metric

    @field_serializer("data_max", "init_max", when_used="json")
    def _no_infinity_in_json(self, value: float) -> float | str:
        return lossless(value)

    def config(self) -> ConversionConfig:
        """The converter's part of the spec. ConfigError where a value cannot be used."""
        from autocast_core.config import ConversionConfig, Precision

        values = {name: getattr(self, name) for name in type(self).model_fields if name not in NOT_FOR_THE_CONVERTER}
        return ConversionConfig(**{**values, "precision": Precision(self.precision)})

    def canonical(self) -> str:
        """Canonical JSON of all that decides the result, without the locations of data and where it is converted."""
        values = self.model_dump(mode="json", exclude={*LOCATIONS, "isolation"})
        return json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False)

    def flat(self) -> dict[str, str]:
        """One short text for each option that is set, as tracking parameters."""
        values = self.model_dump(mode="json", exclude_none=True)
        return {
            key: value if isinstance(value, str) else json.dumps(value)
            for key, value in values.items()
            if value not in ([], {})
        }


def load_spec(path: str | Path | None, overrides: Mapping[str, Any]) -> Spec:
    """The spec in the YAML file at `path` (an empty one without), with `overrides` that are not None on top.

    ConfigError with one line that names the file, the line, the key and what is allowed.
    """
    values, lines = read_yaml(path) if path else ({}, {})
    given = {key: value for key, value in overrides.items() if value is not None}
    return make_spec({**values, **given}, str(path) if path else "options", lines)


def make_spec(values: Mapping[str, Any], where: str, lines: Mapping[KeyPath, int] | None = None) -> Spec:
    """The spec with `values`; ConfigError names `where` they came from and the first line that is wrong."""
    try:
        return Spec.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"{where}: {_first_problem(error, lines or {})}") from error


def _first_problem(error: ValidationError, lines: Mapping[KeyPath, int]) -> str:
    problem = error.errors(include_url=False)[0]
    location = tuple(problem["loc"])
    line = next((lines[location[:end]] for end in range(len(location), 0, -1) if location[:end] in lines), None)
    at = f"line {line}: " if line else ""
    key = str(location[0]) if location else ""
    if problem["type"] == "extra_forbidden":
        allowed = sorted(Spec.model_fields)
        near = difflib.get_close_matches(key, allowed, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        return f"{at}there is no option {key!r}; {hint}allowed are {', '.join(allowed)}"
    message = problem["msg"].removeprefix("Value error, ")
    return f"{at}{key}: {message[:1].lower()}{message[1:]}, not {_short(problem['input'])}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
