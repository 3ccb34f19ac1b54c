"""A fleet: many models, one spec, overrides; read from a YAML file.

spec: {precision: fp16, validation: off}     # for all
output: s3://models/fp16/                    # each model goes to NAME/ below it
models:
  - model: s3://models/resnet.onnx
  - model: models:/bert/3
    spec: {precision: bf16}                  # over the shared one
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from autocast_core.errors import AutocastError, ConfigError
from flows.request.spec import Spec, make_spec
from flows.request.yaml_file import KeyPath, read_yaml

FILE_KEYS = ("models", "output", "spec")
MODEL_KEYS = ("model", "spec")


class FleetModel(BaseModel):
    """One model of a fleet and all its options."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(min_length=1, description="Path, file://, s3:// or models:/ URI of an FP32 ONNX model.")
    spec: Spec = Spec()


@dataclass(frozen=True)
class ModelOutcome:
    """The outcome of one model: the result's values, or the error's message and exit code."""

    model: str
    ok: bool
    error: str | None = None
    exit_code: int = 0
    result: Mapping[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """One flat object, as `autocast run --json` prints."""
        return {"model": self.model, "ok": self.ok, "error": self.error, **(self.result or {})}

    @staticmethod
    def from_json(raw: Mapping[str, Any]) -> ModelOutcome:
        return ModelOutcome(**raw)

    def plain(self) -> dict[str, Any]:
        return asdict(self)


class FleetError(AutocastError):
    """Some models of a fleet were not converted; exit code 2 or 3 where that holds for all of these, else 1."""

    def __init__(self, message: str, result: Any, exit_code: int) -> None:
        super().__init__(message)
        self.result = result
        self.exit_code = exit_code


class FleetResult:
    """Outcomes as the command's JSON."""

    def __init__(self, outcomes: Sequence[ModelOutcome]) -> None:
        self.outcomes = outcomes

    def to_json(self) -> dict[str, Any]:
        return {"models": [outcome.to_json() for outcome in self.outcomes]}


def fleet_failure(outcomes: Sequence[ModelOutcome]) -> FleetError | None:
    """The error of a fleet in which models failed: how many and the first of them; None where none did."""
    failed = [outcome for outcome in outcomes if not outcome.ok]
    if not failed:
        return None
    codes = {outcome.exit_code for outcome in failed}
    first = f"{failed[0].model}: {failed[0].error}"
    text = f"{len(failed)} of {len(outcomes)} models were not converted; the first: {first}"
    return FleetError(text, FleetResult(outcomes), codes.pop() if len(codes) == 1 else 1)


def read_fleet(path: str | Path) -> tuple[FleetModel, ...]:
    """The models in the file at `path`. ConfigError names the file, the line and the key that is wrong."""
    values, lines = read_yaml(path)
    _known(values, FILE_KEYS, path, lines, ())
    models = values.get("models")
    if not isinstance(models, list) or not models:
        raise ConfigError(f"{path}: models: give a list of `- model: LOCATION`")
    shared = _options(values.get("spec"), path, lines, ("spec",))
    make_spec(shared, str(path), _below(lines, ("spec",)))
    read = tuple(_read_model(one, index, shared, values.get("output"), path, lines) for index, one in enumerate(models))
    check_distinct(read, f"{path}: ")
    return read


def check_distinct(models: Sequence[FleetModel], where: str = "") -> None:
    """ConfigError, begun with `where`, that names two models which would be written to one place, or registered under
    one name: the second would replace the first, or be taken for it."""
    for what, of, remedy in (
        ("are written to", _destination, "give one of them an output of its own"),
        ("are registered as", _registered, "give one of them a name of its own"),
    ):
        seen: dict[str, FleetModel] = {}
        for one in models:
            value = of(one)
            if value is not None and (first := seen.setdefault(value, one)) is not one:
                raise ConfigError(f"{where}{first.model} and {one.model} both {what} {value}: {remedy}")


def _destination(one: FleetModel) -> str | None:
    """The model file that is written, links followed; None: the registry only, or no location, as its conversion will
    say."""
    from tasks.storage.publication import output_location

    try:
        return output_location(one.spec.output) if one.spec.output else None
    except ConfigError:
        return None


def _registered(one: FleetModel) -> str:
    """The name as flows.conversion.record gives it, once the source is there."""
    registered = one.model.startswith("models:/")
    source = re.split(r"[/@]", one.model.removeprefix("models:/"))[0] if registered else _stem(one.model)
    return one.spec.name or f"{re.sub(r'[/:]', '_', source)}-{one.spec.precision_in_names}"


def _read_model(
    one: Any, index: int, shared: Mapping[str, Any], output: str | None, path: str | Path, lines: Mapping[KeyPath, int]
) -> FleetModel:
    where: KeyPath = ("models", index)
    if isinstance(one, str):
        one = {"model": one}
    if not isinstance(one, dict) or not isinstance(one.get("model"), str) or not one["model"]:
        raise ConfigError(f"{path}: {_line(lines, where)}models[{index}]: give `model: LOCATION`")
    _known(one, MODEL_KEYS, path, lines, where)
    own = _options(one.get("spec"), path, lines, (*where, "spec"))
    spec = make_spec({**shared, **own}, str(path), _below(lines, (*where, "spec")))
    if output is not None and spec.output is None:
        folder = f"{output.rstrip('/')}/{_name(one['model'])}-{spec.precision_in_names}/"
        spec = spec.model_copy(update={"output": folder})
    return FleetModel(model=one["model"], spec=spec)


def _name(model: str) -> str:
    """A folder's name for the model: the last part of its location, or the registered name and version."""
    if model.startswith("models:/"):
        return model.removeprefix("models:/").replace("/", "-").replace("@", "-")
    return _stem(model)


def _stem(model: str) -> str:
    return model.partition("?")[0].rstrip("/").rpartition("/")[2].removesuffix(".onnx")


def _options(value: Any, path: str | Path, lines: Mapping[KeyPath, int], where: KeyPath) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: {_line(lines, where)}spec: give `option: value` pairs")
    return value


def _known(
    values: Mapping[str, Any], allowed: tuple[str, ...], path: str | Path, lines: Mapping[KeyPath, int], where: KeyPath
) -> None:
    for key in values:
        if key not in allowed:
            near = difflib.get_close_matches(str(key), allowed, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            at = _line(lines, (*where, key))
            raise ConfigError(f"{path}: {at}unknown key {key!r}; {hint}allowed are {', '.join(allowed)}")


def _line(lines: Mapping[KeyPath, int], where: KeyPath) -> str:
    return f"line {lines[where]}: " if where in lines else ""


def _below(lines: Mapping[KeyPath, int], where: KeyPath) -> dict[KeyPath, int]:
    """The lines of the keys below `where`, by their paths from there."""
    return {key[len(where) :]: line for key, line in lines.items() if key[: len(where)] == where and key != where}
