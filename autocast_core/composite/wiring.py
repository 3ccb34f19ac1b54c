"""A declaration and the models that it speaks of, put together: which input takes what."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import onnx_ir as ir

from autocast_core.composite.declaration import DATA, TOKENS, CompositeModel, GreedyDecoding, ModelStage, Origin
from autocast_core.data import InputSpec, input_specs, table_sizes
from autocast_core.errors import ConfigError


@dataclass(frozen=True)
class WiredStage:
    """A stage with all that its model needs.

    `inputs` are those that are fed from outside, `specs` all inputs of the model; `outputs` is what may be read of the
    stage; `cache` says by input which output of the run before it takes.
    """

    stage: ModelStage
    inputs: Mapping[str, Origin]
    specs: Mapping[str, InputSpec]
    outputs: tuple[str, ...]
    cache: Mapping[str, str]

    @property
    def name(self) -> str:
        """The stage's name."""
        return self.stage.name


@dataclass(frozen=True)
class Wiring:
    """Stages in order, the arrays that the data must hold (`tables`: rows of the tables that they index), and the
    outputs that are judged."""

    stages: tuple[WiredStage, ...]
    data: tuple[InputSpec, ...]
    tables: Mapping[str, int]
    outputs: tuple[Origin, ...]


def wire(composite: CompositeModel, models: Mapping[str, ir.Model]) -> Wiring:
    """`composite` with the FP32 models of its stages, by name.

    ConfigError names the key of the declaration that does not fit its model: an input or output that does not exist, or
    an origin that does not come earlier.
    """
    known: dict[str, tuple[str, ...]] = {}
    stages: list[WiredStage] = []
    for stage in composite.stages:
        wired = _wired(stage, models[stage.name], known, stages, f"{composite.where}: stages.{stage.name}")
        known[stage.name] = wired.outputs
        stages.append(wired)
    outputs = composite.outputs or tuple(Origin(stages[-1].name, name) for name in stages[-1].outputs)
    for output in outputs:
        _require_known(output, known, f"{composite.where}: outputs")
    return Wiring(tuple(stages), *_data(stages, models, composite.where), outputs)


def require_same_interface(wired: WiredStage, candidate: ir.Model, where: str) -> None:
    """ConfigError, begun with `where`, unless the stage's `candidate` has the inputs and outputs of its FP32 model that
    are used."""
    inputs = [spec.name for spec in input_specs(candidate)]
    outputs = [str(value.name) for value in candidate.graph.outputs]
    generate = wired.stage.generate
    needed = [name for name in wired.outputs if name != TOKENS or generate is None] + sorted(set(wired.cache.values()))
    for kind, names, there in (("input", wired.specs, inputs), ("output", needed, outputs)):
        for name in names:
            if name not in there:
                raise ConfigError(
                    f"{where}: the candidate has no {kind} {name!r} as the FP32 model (it has {', '.join(there)}):"
                    " give another form of the same model"
                )


def _wired(
    stage: ModelStage,
    model: ir.Model,
    known: Mapping[str, tuple[str, ...]],
    earlier: Sequence[WiredStage],
    where: str,
) -> WiredStage:
    specs = {spec.name: spec for spec in input_specs(model)}
    outputs = tuple(str(value.name) for value in model.graph.outputs)
    for name, origin in stage.inputs.items():
        _require_member(name, specs, "input", f"{where}.inputs.{name}")
        if origin.stage != DATA:
            _require_known(origin, known, f"{where}.inputs.{name}")
    generate, cache, made = stage.generate, {}, set()
    if generate is not None:
        _check_generation(generate, specs, outputs, known, f"{where}.generate")
        cache = _cache(generate, stage, specs, outputs, known, f"{where}.generate.cache")
        made = {*cache, generate.position_ids, generate.use_cache, generate.tokens if generate.prefill else None}
        outputs = (TOKENS, generate.logits)
    unnamed = {name: Origin(DATA, name) for name in specs if name not in stage.inputs and name not in made}
    return WiredStage(stage, {**stage.inputs, **unnamed}, specs, outputs, cache)


def _check_generation(
    generate: GreedyDecoding,
    specs: Mapping[str, InputSpec],
    outputs: Sequence[str],
    known: Mapping[str, tuple[str, ...]],
    where: str,
) -> None:
    for key in ("tokens", "attention_mask", "position_ids", "use_cache"):
        name = getattr(generate, key)
        if name is not None:
            _require_member(name, specs, "input", f"{where}.{key}")
    if not specs[generate.tokens].dtype.is_integer():
        raise ConfigError(f"{where}.tokens: {specs[generate.tokens]} does not take integers: name the input of tokens")
    _require_member(generate.logits, outputs, "output", f"{where}.logits")
    if generate.prefill is not None:
        _require_member(generate.prefill, known, "earlier stage", f"{where}.prefill")
        _require_known(Origin(generate.prefill, generate.logits), known, f"{where}.prefill")
        if not generate.cache:
            raise ConfigError(f"{where}.prefill: needs `cache`, the inputs that take what the stage has read")


def _cache(
    generate: GreedyDecoding,
    stage: ModelStage,
    specs: Mapping[str, InputSpec],
    outputs: Sequence[str],
    known: Mapping[str, tuple[str, ...]],
    where: str,
) -> dict[str, str]:
    """By input of the cache the output that it takes."""
    found: dict[str, str] = {}
    for pattern, source in generate.cache.items():
        matched = {name: part for name in specs if (part := _matched(pattern, name)) is not None}
        if not matched:
            raise ConfigError(f"{where}: no input matches {pattern!r}; the inputs are {', '.join(specs)}")
        for name, part in matched.items():
            output = source.replace("*", part, 1)
            # What the model does not give stays as it began, as keys and values of an encoder's result.
            begun = name in stage.inputs or (generate.prefill is not None and output in known[generate.prefill])
            if output not in outputs and not begun:
                raise ConfigError(
                    f"{where}: input {name!r} takes {output!r}, which is not an output: the outputs are"
                    f" {', '.join(outputs)}"
                )
            found[name] = output
    return found


def _matched(pattern: str, name: str) -> str | None:
    """What ``*`` stands for where `name` matches `pattern`; None where it does not."""
    before, star, behind = pattern.partition("*")
    if not star:
        return "" if name == pattern else None
    fits = name.startswith(before) and name.endswith(behind) and len(name) >= len(before) + len(behind)
    return name[len(before) : len(name) - len(behind)] if fits else None


def _data(
    stages: Sequence[WiredStage], models: Mapping[str, ir.Model], where: str
) -> tuple[tuple[InputSpec, ...], Mapping[str, int]]:
    """What the data must hold: each array as the first input that takes it."""
    found: dict[str, InputSpec] = {}
    tables: dict[str, int] = {}
    for wired in stages:
        rows = table_sizes(models[wired.name])
        for name, origin in wired.inputs.items():
            if origin.stage != DATA:
                continue
            spec = found.setdefault(origin.name, replace(wired.specs[name], name=origin.name))
            if spec.dtype != wired.specs[name].dtype:
                raise ConfigError(
                    f"{where}: stages.{wired.name}.inputs.{name}: takes {wired.specs[name]}, but array {origin.name!r}"
                    f" of the data is taken as {spec} before: give the data two arrays"
                )
            if name in rows:
                tables[origin.name] = min(rows[name], tables.get(origin.name, rows[name]))
    return tuple(found.values()), tables


def _require_known(origin: Origin, known: Mapping[str, tuple[str, ...]], where: str) -> None:
    if origin.stage not in known:
        earlier = ", ".join((DATA, *known))
        raise ConfigError(f"{where}: {origin}: there is no earlier stage {origin.stage!r}; there are {earlier}")
    _require_member(origin.name, known[origin.stage], "output", f"{where}: {origin}")


def _require_member(name: str, there: Iterable[str], kind: str, where: str) -> None:
    if name not in there:
        raise ConfigError(f"{where}: there is no {kind} {name!r}; there are {', '.join(there)}")
