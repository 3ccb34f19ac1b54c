"""Two models as they are compared: no functions, every value typed, every node named, inputs and outputs paired."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from autocast_core.config import ConversionConfig
from autocast_core.data import input_specs
from autocast_core.errors import ConfigError, ModelError
from autocast_core.graph.names import values_by_name
from autocast_core.operators import infer_missing_types
from autocast_core.sanitize.names import give_unique_names


def prepared(model: ir.Model) -> ir.Model:
    """A copy of `model` without model-local functions, with inferred types and unique names. Weights are shared."""
    copy = model.clone()
    if copy.functions:
        from onnx_ir.passes.common import InlinePass  # noqa: PLC0415 - takes a tenth of a second

        InlinePass()(copy)
    give_unique_names(copy, ConversionConfig())
    infer_missing_types(copy)
    return copy


@dataclass(frozen=True)
class Interfaces:
    """The candidate's inputs and outputs by those of the reference."""

    inputs: Mapping[str, str]
    outputs: Mapping[str, str]


def paired_interfaces(reference: ir.Model, candidate: ir.Model, mapped: Mapping[str, str]) -> Interfaces:
    """Which input and output of `candidate` each one of `reference` is: as `mapped` says, else by name; outputs that
    are left are paired in their order.

    ModelError where an input of one has no counterpart in the other, or no output is left to compare; ConfigError
    where `mapped` names what neither has.
    """
    inputs = _paired_inputs(reference, candidate, mapped)
    theirs = [str(value.name) for value in candidate.graph.outputs]
    ours = [str(value.name) for value in reference.graph.outputs]
    outputs = {name: mapped.get(name, name) for name in ours if mapped.get(name, name) in theirs}
    taken = set(outputs.values())
    rest = [name for name in theirs if name not in taken]
    outputs |= dict(zip([name for name in ours if name not in outputs], rest, strict=False))
    if not outputs:
        raise ModelError("the models have no output in common: give --map REFERENCE=CANDIDATE for an output")
    _check_mapped(reference, candidate, mapped)
    return Interfaces(inputs, {name: outputs[name] for name in ours if name in outputs})


def parse_map(given: Sequence[str]) -> dict[str, str]:
    """``a=b`` pairs as a mapping. ConfigError for any other text."""
    found: dict[str, str] = {}
    for text in given:
        left, equals, right = text.partition("=")
        if not (left and equals and right):
            raise ConfigError(f"--map {text}: write REFERENCE=CANDIDATE, the names of an input, output or tensor")
        found[left] = right
    return found


def _paired_inputs(reference: ir.Model, candidate: ir.Model, mapped: Mapping[str, str]) -> dict[str, str]:
    ours = {spec.name: spec for spec in input_specs(reference)}
    theirs = {spec.name: spec for spec in input_specs(candidate)}
    pairs = {name: mapped.get(name, name) for name in ours if mapped.get(name, name) in theirs}
    missing = [spec for name, spec in ours.items() if name not in pairs]
    extra = [spec for name, spec in theirs.items() if name not in pairs.values()]
    if extra or any(_is_read(reference, spec.name) for spec in missing):
        only = [f"only the reference has {', '.join(map(str, missing))}"] if missing else []
        only += [f"only the candidate has {', '.join(map(str, extra))}"] if extra else []
        example = f"--map {missing[0].name}={extra[0].name}" if missing and extra else "two models with the same inputs"
        raise ModelError(f"the models' inputs differ: {'; '.join(only)}; give {example}")
    for name, other in pairs.items():
        left, right = ours[name], theirs[other]
        if left.dtype.is_floating_point() != right.dtype.is_floating_point():
            raise ModelError(
                f"input {left} of the reference is {right} in the candidate: give models that mean the same"
            )
        if left.dims is not None and right.dims is not None and not _fit(left.dims, right.dims):
            raise ModelError(f"input {left} of the reference is {right} in the candidate: give models of one shape")
    return pairs


def _fit(left: Sequence[object], right: Sequence[object]) -> bool:
    if len(left) != len(right):
        return False
    return all(not (isinstance(a, int) and isinstance(b, int)) or a == b for a, b in zip(left, right, strict=True))


def _is_read(model: ir.Model, name: str) -> bool:
    return any(value.name == name and (value.uses() or value.is_graph_output()) for value in model.graph.inputs)


def _check_mapped(reference: ir.Model, candidate: ir.Model, mapped: Mapping[str, str]) -> None:
    for side, model, names in (("reference", reference, mapped), ("candidate", candidate, mapped.values())):
        known = values_by_name(model.graph)
        for name in names:
            if name not in known:
                raise ConfigError(
                    f"--map: the {side} has no tensor {name!r}; its inputs and outputs are "
                    f"{', '.join(str(v.name) for v in (*model.graph.inputs, *model.graph.outputs))}"
                )
