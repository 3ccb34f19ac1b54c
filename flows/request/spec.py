"""The spec: all options of a conversion, as a form that Prefect shows and a YAML file that people write."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
    field_serializer,
    field_validator,
)

from autocast_core.config import OPTIONS, ConversionConfig, Precision
from autocast_core.errors import AutocastError, ConfigError
from autocast_core.json_values import lossless
from autocast_core.precision import parse_low_types
from flows.request.form_groups import show_in_groups
from flows.request.yaml_file import KeyPath, read_yaml, said_plainly

if TYPE_CHECKING:
    from autocast_core.evaluate import AskedGates

LOCATIONS = ("calibration", "evaluation")
"""Fields that only say where data is; the identity of a conversion holds the digest of the data instead."""
LONGEST_GATE = 1000
_YOUNGER = (
    "allow_nonfinite",
    "keep_default_gates",
    "strict_source",
    "custom_op_libraries",
    "decide",
    "extra_traffic",
    "headroom",
    "repair_evaluations",
    "class_outputs",
    "lower_all_io",
    "max_ir_version",
    "repair_ranges",
    "device",
    "fp32_engine",
    "accumulate",
    "judges",
    "recipe",
    "segments",
    "allow_uncalibrated",
    "correct_biases",
    "fuse_rms_norm",
    "upcast_attention",
)
"""Fields younger than the first identities of conversions, which must not change where they are not used."""


def _shape(value: Any) -> Any:
    """``1x128`` as AutoCast and TensorRT write shapes, or a list of numbers."""
    if isinstance(value, str):
        return value.lower().split("x")
    return value


def _off(value: Any) -> Any:
    """YAML 1.1 reads a bare ``off`` as false."""
    return "off" if value is False else value


def _list(value: Any) -> Any:
    """A single text where a list is expected is a list of one."""
    return (value,) if isinstance(value, str) else value


def _joined(value: Any) -> Any:
    """``[fp16, bf16]`` as the one text that the command line takes."""
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else value


LowTypes = Annotated[
    Literal["fp16", "bf16", "fp16,bf16"],
    BeforeValidator(_joined),
    WithJsonSchema({"enum": ["fp16", "bf16", "fp16,bf16", ["fp16", "bf16"]]}),
]
Texts = Annotated[tuple[str, ...], BeforeValidator(_list)]
Shape = Annotated[tuple[Annotated[int, Field(ge=0)], ...], BeforeValidator(_shape)]


def _option(name: str) -> Any:
    """The field of the converter's option `name`: its default, bounds and help are declared in autocast_core.config."""
    option = OPTIONS[name]
    default = str(option.default) if isinstance(option.default, Precision) else option.default_in_spec
    # Forms make a drop-down of it.
    chosen: Any = {"enum": list(option.choices)} if option.choices and option.type == "str" else None
    return Field(default, description=option.help, ge=option.at_least, gt=option.above, json_schema_extra=chosen)


class Spec(BaseModel):
    """One conversion's options. Names, meanings and defaults follow AutoCast where it has them."""

    model_config = ConfigDict(extra="forbid", frozen=True, title="Conversion spec", json_schema_extra=show_in_groups)

    precision: LowTypes = _option("precision")
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
        None, description="Registered name. Default: the source's name or file stem, plus -fp16, -bf16 or -fp16-bf16."
    )
    gates: Texts = Field(
        (),
        description="Accuracy that the model must reach, for example `rel_l2<=5e-3`, `top1_drop<=0.001`. Default: no"
        " output in any batch is ruined (`worst_batch.sqnr_db>=40` in FP16, 22 in BF16; see gates and metrics).",
    )
    keep_default_gates: bool = Field(
        False, description="The default gates hold beside `gates`; else `gates` take their place."
    )
    metric: str | None = Field(
        None,
        description="module:function(outputs, labels) for the gate task_metric_ratio; more is better. Default: top-1.",
    )
    allow_random: bool = Field(False, description="Evaluate gates on seeded random data where no data is given.")
    allow_nonfinite: bool = Field(
        False, description="Take data, weights and FP32 results that hold NaN or infinity; else they are an error."
    )
    validation: Annotated[Literal["required", "if_available", "off"], BeforeValidator(_off)] = Field(
        "if_available", description="Parse and build the model with TensorRT."
    )

    nodes_to_exclude: Texts = _option("nodes_to_exclude")
    op_types_to_exclude: Texts = _option("op_types_to_exclude")
    nodes_to_include: Texts = _option("nodes_to_include")
    op_types_to_include: Texts = _option("op_types_to_include")
    data_max: float = _option("data_max")
    headroom: float = _option("headroom")
    init_max: float = _option("init_max")
    init_conversion_max_bytes: int | None = _option("init_conversion_max_bytes")
    max_depth_of_reduction: int | None = _option("max_depth_of_reduction")
    upcast_attention: bool = _option("upcast_attention")
    keep_io_types: bool | Texts = _option("keep_io_types")
    lower_all_io: bool = _option("lower_all_io")
    max_ir_version: int = _option("max_ir_version")
    opset: int | None = _option("opset")
    small_values: bool = _option("small_values")
    clamp_masks: bool = _option("clamp_masks")
    fuse_layer_norm: bool = _option("fuse_layer_norm")
    fuse_rms_norm: bool = _option("fuse_rms_norm")
    repair_ranges: bool = _option("repair_ranges")
    correct_biases: bool = _option("correct_biases")
    decide: Literal["thresholds", "measured"] = _option("decide")
    extra_traffic: float = _option("extra_traffic")
    repair_evaluations: int = _option("repair_evaluations")
    providers: Texts = _option("providers")
    class_outputs: Texts = _option("class_outputs")
    judges: Texts = _option("judges")
    recipe: str | dict[str, Any] | None = _option("recipe")
    accumulate: Literal["fp32", "native", "fp16"] = _option("accumulate")
    target: Literal["tensorrt"] | None = _option("target")
    device: str = _option("device")
    fp32_engine: bool = _option("fp32_engine")
    profiles: dict[str, tuple[Shape, Shape, Shape]] = _option("profiles")
    workspace_bytes: int | None = _option("workspace_bytes")
    timing_cache: str | None = _option("timing_cache")
    trt_plugins: Texts = _option("trt_plugins")
    custom_op_libraries: Texts = _option("custom_op_libraries")
    trt_plugins_precision: Texts = _option("trt_plugins_precision")
    use_standalone_type_inference: bool = _option("use_standalone_type_inference")
    strict_source: bool = _option("strict_source")
    segments: int | None = _option("segments")
    allow_uncalibrated: bool = _option("allow_uncalibrated")
    shapes: dict[str, Shape] = _option("shapes")
    batch_size: int = _option("batch_size")
    seed: int = _option("seed")
    isolation: Literal["process", "none"] | None = Field(
        None,
        description="Read and convert files in a process with limits. Default: process in deployments, else none.",
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
        return gates

    @field_validator("judges")
    @classmethod
    def _judges_are_judges(cls, judges: tuple[str, ...]) -> tuple[str, ...]:
        from autocast_core.evaluate.judges import asked_judges

        try:
            asked_judges(judges)
        except AutocastError as error:
            raise ValueError(str(error)) from error
        return judges

    @field_validator("recipe", mode="before")
    @classmethod
    def _recipe_is_unpacked(cls, recipe: Any) -> Any:
        """What `flat` made of a recipe's content is that again."""
        from autocast_core.recipes.packed import unpacked

        try:
            content = unpacked(recipe) if isinstance(recipe, str) else None
        except AutocastError as error:
            raise ValueError(str(error)) from error
        return recipe if content is None else content

    @field_validator("recipe")
    @classmethod
    def _recipe_is_known(cls, recipe: str | dict[str, Any] | None) -> str | dict[str, Any] | None:
        from autocast_core.recipes import library_recipe, recipe_of

        try:
            # A path is read only where the user gave it, see load_spec: a spec may come from a registry's tags.
            if recipe is not None:
                library_recipe(recipe) if isinstance(recipe, str) else recipe_of(recipe)
        except AutocastError as error:
            raise ValueError(str(error)) from error
        return recipe

    @field_validator("metric")
    @classmethod
    def _metric_is_a_function(cls, metric: str | None) -> str | None:
        if metric is not None and not re.fullmatch(r"[\w.]+:\w+", metric):
            raise ValueError("give module:function")
        return metric

    @field_serializer("data_max", "headroom", "init_max", "extra_traffic", when_used="json")
    def _no_infinity_in_json(self, value: float) -> float | str:
        return lossless(value)

    def config(self) -> ConversionConfig:
        """The options of the converter. ConfigError where a value cannot be used."""
        values = {name: getattr(self, name) for name in OPTIONS.keys() & type(self).model_fields}
        precision, range_precision = parse_low_types(self.precision)
        if self.recipe is not None:
            from autocast_core.recipes import recipe_of

            values["recipe"] = recipe_of(self.recipe)
        return ConversionConfig(**{**values, "precision": precision, "range_precision": range_precision})

    @property
    def precision_in_names(self) -> str:
        """The 16-bit types as names of models, files and runs have them: ``fp16``, ``bf16`` or ``fp16-bf16``."""
        return self.precision.replace(",", "-")

    def asked_gates(self) -> AskedGates:
        """What the converted model must reach."""
        from autocast_core.evaluate import AskedGates

        return AskedGates(self.gates, self.keep_default_gates, self.allow_random)

    def canonical(self) -> str:
        """Canonical JSON of every option that the result depends on, so not where data and files are; of `output` the
        model's file name.

        `gates` that are not given are an empty list, whatever the default ones are.
        """
        from tasks.storage.local import MODEL_FILE
        from tasks.storage.publication import output_name

        values = self.model_dump(mode="json", exclude={*LOCATIONS, "isolation"})
        # A model's external data have its file's name.
        values["output"] = file if self.output and (file := output_name(self.output)) != MODEL_FILE else None
        for name in _YOUNGER:
            if getattr(self, name) == type(self).model_fields[name].default:
                del values[name]
        return json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False)

    def request_digest(self) -> str:
        """sha256 of everything that was asked beside the defaults: equal for equal requests, whatever defaults are."""
        asked = self.model_dump(mode="json", exclude_defaults=True)
        return sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()

    def flat(self) -> dict[str, str]:
        """A short text for each option that is set, for the parameters of a tracking run."""
        values = self.model_dump(mode="json", exclude_none=True)
        if isinstance(self.recipe, dict):
            from autocast_core.recipes.packed import packed

            values["recipe"] = packed(self.recipe)
        return {
            key: value if isinstance(value, str) else json.dumps(value)
            for key, value in values.items()
            if value not in ([], {})
        }


def load_spec(path: str | Path | None, overrides: Mapping[str, Any]) -> Spec:
    """The spec in the YAML file at `path` (an empty one without), with `overrides` that are not None on top.

    A `recipe` that is not of the library is read from that file, so that the spec holds all of it.
    ConfigError with one line that names the file, the line, the key and what is allowed; PlanError for a recipe's file.
    """
    values, lines = read_yaml(path) if path else ({}, {})
    given = {key: value for key, value in overrides.items() if value is not None}
    recipe = given.get("recipe", values.get("recipe"))
    if isinstance(recipe, str):
        from autocast_core.recipes import library, read_recipe

        given["recipe"] = recipe if recipe in library() else read_recipe(recipe).plain()
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
    return f"{at}{key}: {said_plainly(problem['msg'])}, not {_short(problem['input'])}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
