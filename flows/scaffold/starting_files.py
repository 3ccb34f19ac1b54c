"""The texts of a team's first files. Each is read by what it is for, so that a wrong answer is refused before it is
written."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autocast_core.errors import ConfigError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


@dataclass(frozen=True)
class Answers:
    """What a team said. `models` are locations, `inputs` one line for each input of the first model, where it could be
    read; `gpu_pool` None: no pool validates on GPUs."""

    models: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    calibration: str | None = None
    evaluation: str | None = None
    precision: str = "fp16"
    gates: tuple[str, ...] = ()
    target: str | None = None
    output: str | None = None
    cpu_pool: str = "autocast-cpu"
    gpu_pool: str | None = None


def spec_file(answers: Answers) -> str:
    """The spec of one conversion. ConfigError where an answer cannot be used."""
    from flows.request.spec import make_spec

    make_spec(_options(answers), "spec.yaml")
    lines = [
        "# Options of a conversion: autocast run MODEL --spec spec.yaml. `autocast schema` prints all there are.",
        *_yaml({"precision": answers.precision}),
        "# A few dozen typical samples: .npz with one array per input, under its name, or a folder of them.",
        *(f"#   {each}" for each in answers.inputs),
        *_given("calibration", answers.calibration, "data.npz"),
        "# Data that judge the model; an array `labels` adds task metrics.",
        *_given("evaluation", answers.evaluation, "validation.npz"),
        "# What the model must reach. Without any: no output is ruined (gates-and-metrics.md).",
        *_given("gates", list(answers.gates), ["top1_drop<=0.001"]),
        "# Fit the plan to an engine.",
        *_given("target", answers.target, "tensorrt"),
    ]
    return "".join(f"{line}\n" for line in lines)


def fleet_file(answers: Answers) -> str:
    """A fleet of the models, with the same options for all. ConfigError where an answer cannot be used."""
    models = answers.models or ("model.onnx",)
    lines = [
        "# Many models with one spec: autocast fleet fleet.yaml. Run it again to convert only what is missing.",
        *_yaml({"spec": _options(answers), "output": answers.output or "converted/"}),
        "models:",
        *(line for model in models for line in _yaml([{"model": model}], "  ")),
    ]
    return "".join(f"{line}\n" for line in lines)


def deployments_file(template: str, answers: Answers) -> str:
    """`template` (infra/prefect.yaml) with the team's pools, and without what no pool of theirs would run.

    ConfigError where a pool's name cannot be used.
    """
    for pool in filter(None, (answers.cpu_pool, answers.gpu_pool)):
        if not _NAME.fullmatch(pool):
            raise ConfigError(f"pool {pool!r}: give letters, digits, - _ and . that begin with a letter or digit")
    body = template[template.index("\nname: ") + 1 :]
    if answers.gpu_pool is None:
        body = re.sub(r"(?m)^    gpu: &gpu\n(?:      .*\n|\n(?=      ))*\n?", "", body)
        head, *deployments = re.split(r"(?m)^(?=  - name: )", body)
        body = head + "".join(each for each in deployments if not re.search(r"\*gpu\b", each))
        body = body.rstrip("\n") + "\n"
    body = re.sub(r"(?m)^(      name: )autocast-cpu$", rf"\g<1>{answers.cpu_pool}", body)
    body = re.sub(r"(?m)^(      name: )autocast-gpu$", rf"\g<1>{answers.gpu_pool}", body)
    return (
        "# The deployments of this team: prefect deploy --all --prefect-file prefect.yaml, where AutoCast Flow is\n"
        "# installed. Workers: prefect worker start --pool POOL. See operating.md.\n" + body
    )


def _options(answers: Answers) -> dict[str, Any]:
    """Those of a spec, without what was not given."""
    values = {
        "precision": answers.precision,
        "calibration": answers.calibration,
        "evaluation": answers.evaluation,
        "gates": list(answers.gates),
        "target": answers.target,
    }
    return {name: value for name, value in values.items() if value}


def _given(name: str, value: str | list[str] | None, example: str | list[str]) -> Sequence[str]:
    """The option, or an example of it in a comment."""
    return _yaml({name: value}) if value else tuple(f"# {line}" for line in _yaml({name: example}))


def _yaml(value: Mapping[str, Any] | list[Any], indent: str = "") -> tuple[str, ...]:
    import yaml

    text = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=10_000)
    return tuple(indent + line for line in text.splitlines())
