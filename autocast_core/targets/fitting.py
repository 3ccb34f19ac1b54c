"""Fits a plan to the target that a conversion names: applies it, writes the model aside, asks the engine."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import onnx_ir as ir

from autocast_core.apply import apply_plan
from autocast_core.backends.tensorrt.validate import is_installed, validate_model
from autocast_core.config import ConversionConfig
from autocast_core.engine.options import EngineOptions, Profile, profiles_of_batches
from autocast_core.engine.validation import Validation
from autocast_core.engine.view import EngineView
from autocast_core.errors import ConfigError
from autocast_core.model import save_model
from autocast_core.plan import PrecisionPlan
from autocast_core.targets.feedback import Fitted, fit_plan
from autocast_core.targets.known_views import known_view
from autocast_core.targets.refusals import target_named


def fit_to_target(
    model: ir.Model,
    plan: PrecisionPlan,
    config: ConversionConfig,
    batches: Iterable[Mapping[str, Any]] | None = None,
) -> Fitted:
    """`plan` for the sanitized `model` as ``config.target`` accepts it; see `feedback.fit_plan`.

    `batches` are what the shapes of dynamic inputs are derived from. ConfigError for an unknown target or profile.
    """
    if config.target is None:
        raise ConfigError("no target is named: give --target tensorrt")
    target, options = target_named(config.target), engine_options(model, config, batches)

    def judge(current: PrecisionPlan) -> Validation:
        applied = apply_plan(model, current)
        with tempfile.TemporaryDirectory(prefix="autocast-target-") as folder:
            saved = save_model(applied.model, Path(folder) / "model.onnx")
            return validate_model(saved.path, applied.plan, options)

    return fit_plan(model, plan, target, judge)


def plan_view(
    model: ir.Model,
    plan: PrecisionPlan,
    config: ConversionConfig,
    batches: Iterable[Mapping[str, Any]] | None = None,
) -> EngineView | None:
    """The view of the engine that the sanitized `model` by `plan` gives, of this build or an earlier one; None where
    there is none."""
    options = engine_options(model, config, batches)
    applied = apply_plan(model, plan)

    def built() -> EngineView | None:
        with tempfile.TemporaryDirectory(prefix="autocast-view-") as folder:
            saved = save_model(applied.model, Path(folder) / "model.onnx")
            return validate_model(saved.path, applied.plan, options).engine_view

    return known_view(applied.model, options, built) if is_installed() else None


def engine_options(
    model: ir.Model, config: ConversionConfig, batches: Iterable[Mapping[str, Any]] | None = None
) -> EngineOptions:
    """How the engine of `model` is to be built: profiles as the config gives them, else its ``shapes``, else as the
    batches have them. ConfigError for a profile of a name that is not an input."""
    dynamic = [
        value.name or ""
        for value in model.graph.inputs
        if value.shape is not None and not all(isinstance(size, int) for size in value.shape)
    ]
    inputs = {value.name for value in model.graph.inputs}
    unknown = sorted(set(config.profiles) - inputs)
    if unknown:
        raise ConfigError(f"profile of {unknown[0]!r}: the model's inputs are {', '.join(sorted(map(str, inputs)))}")
    given = {name: Profile(*shapes) for name, shapes in config.profiles.items()}
    fixed = {name: Profile(tuple(shape), tuple(shape), tuple(shape)) for name, shape in config.shapes.items()}
    unshaped = [name for name in dynamic if name not in given]
    derived = profiles_of_batches(batches) if unshaped and batches is not None else {}
    chosen = {**fixed, **derived, **given}
    return EngineOptions(
        profiles={name: chosen[name] for name in dynamic if name in chosen},
        plugins=config.trt_plugins,
        workspace_bytes=config.workspace_bytes,
        timing_cache=Path(config.timing_cache) if config.timing_cache else None,
    )
