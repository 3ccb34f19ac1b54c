"""The tools that an agent is given: convert, lint, diagnose, tune and review.

None of them sets an alias that somebody relies on: promotion is a person's, by `autocast promote` or in MLflow.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from autocast_core.errors import ConfigError
from flows.agent_server.allowed_places import AllowedPlaces
from flows.agent_server.command_call import answered
from tasks.storage.uri import RegistryLocation, parse_uri

Model = Annotated[str, Field(description="FP32 ONNX model: a path, s3:// or models:/NAME/VERSION.")]
Data = Annotated[
    str | None,
    Field(description="Data: .npz with one array per model input under its name, or a folder of such files."),
]
LowPrecision = Annotated[
    Literal["fp16", "bf16", "fp16,bf16"], Field(description="The 16-bit type; fp16,bf16: BF16 where range needs it.")
]
Answer = dict[str, Any]


@dataclass(frozen=True)
class AgentTools:
    """Each tool is a command of the same name with `--json`, run in the first of the allowed folders."""

    places: AllowedPlaces

    async def lint(
        self,
        model: Annotated[str, Field(description="ONNX model: a path.")],
        reference: Annotated[str | None, Field(description="The FP32 model that it was made from.")] = None,
        level: Annotated[Literal["note", "warning", "error"], Field(description="The lowest level shown.")] = "warning",
    ) -> Answer:
        """Look for what is wrong or needlessly expensive in an ONNX model, without running it. The cheapest tool: use
        it first, on the model that somebody gives you and on every model that you made. Each finding has a code, the
        node, what it costs and what fixes it."""
        return await self._answered("lint", self.places.readable(model), reference=self._read(reference), level=level)

    async def convert(
        self,
        model: Model,
        calibration: Data = None,
        evaluation: Data = None,
        precision: LowPrecision = "fp16",
        gates: Annotated[
            list[str] | None,
            Field(description="What the model must reach beside the default gates, as 'top1_drop<=0.001'."),
        ] = None,
        target: Annotated[Literal["tensorrt"] | None, Field(description="Fit the plan to an engine.")] = None,
        output: Annotated[str | None, Field(description="FILE.onnx, a folder or an s3:// prefix.")] = None,
        dry_run: Annotated[bool, Field(description="Only decide: write and register nothing.")] = False,
    ) -> Answer:
        """Convert an FP32 model to mixed precision, measure what it costs, and register the result. exit_code 3 means
        that a gate is missed: `gates` says which and by how much; use diagnose or tune then."""
        with tempfile.TemporaryDirectory(prefix="autocast-agent-") as folder:
            return await self._answered(
                "run",
                self.places.readable(model),
                calibration=self._read(calibration),
                evaluation=self._read(evaluation),
                precision=precision,
                spec=_spec_of(gates, Path(folder)),
                target=target,
                output=None if output is None else self.places.writable(output),
                dry_run=dry_run,
            )

    async def diagnose(
        self,
        reference: Annotated[str, Field(description="The model that is right: a path, s3:// or models:/ URI.")],
        candidate: Annotated[str, Field(description="The model in question, in the same forms.")],
        data: Data = None,
        tolerance: Annotated[float | None, Field(description="Least SQNR of an output in dB.")] = None,
    ) -> Answer:
        """Find the node where a model gives other numbers than another form of it, and why: FP32 against FP16, a model
        against its optimised graph. exit_code 3 means that an output diverges: `culprits` names nodes and remedies."""
        return await self._answered(
            "diagnose",
            *(self.places.readable(each) for each in (reference, candidate)),
            data=self._read(data),
            tolerance=tolerance,
        )

    async def tune(
        self,
        model: Model,
        budgets: Annotated[list[str], Field(description="Gates to meet, as 'sqnr_db>=40'.", min_length=1)],
        evaluation: Data = None,
        precision: LowPrecision = "fp16",
        minimize: Annotated[str, Field(description="What FP32 shall cost least of: nodes, time, traffic.")] = "nodes",
        minutes: Annotated[float, Field(description="Start no evaluation after this time.", gt=0, le=240)] = 10.0,
        output: Annotated[str | None, Field(description="Where the plan goes: FILE.json or a folder.")] = None,
    ) -> Answer:
        """Search for the smallest set of nodes that must stay in FP32 to meet budgets. Slow: use it where convert
        misses a gate, or where accuracy is asked for in numbers. `certificate` says why each node is needed."""
        return await self._answered(
            "tune",
            self.places.readable(model),
            budget=budgets,
            evaluation=self._read(evaluation),
            precision=precision,
            minimize=minimize,
            minutes=minutes,
            output=None if output is None else self.places.writable(output),
        )

    async def review(
        self, version: Annotated[str, Field(description="models:/NAME/VERSION or models:/NAME@ALIAS.")]
    ) -> Answer:
        """Read what a registered conversion recorded: gate, metrics, source, aliases. Use it before you recommend a
        version. Promotion is a person's: give them the command `autocast promote VERSION --alias ALIAS`."""
        if not isinstance(parse_uri(version), RegistryLocation):
            raise ConfigError(f"{version}: give models:/NAME/VERSION or models:/NAME@ALIAS")
        return await self._answered("review", version)

    def _read(self, location: str | None) -> str | None:
        return None if location is None else self.places.readable(location)

    async def _answered(self, command: str, *positional: str, **options: Any) -> Answer:
        return await answered(self.places.roots[0], command, *_words(options), "--", *positional)


def _words(options: Mapping[str, Any]) -> tuple[str, ...]:
    """The options of a command line. Values stand behind ``=``, so that none is taken for another option."""
    words = []
    for name, value in options.items():
        flag = f"--{name.replace('_', '-')}"
        if value is True:
            words.append(flag)
        elif value is not None and value is not False:
            words += [f"{flag}={each}" for each in (value if isinstance(value, list) else [value])]
    return tuple(words)


def _spec_of(gates: list[str] | None, folder: Path) -> str | None:
    """A spec file with the gates, which hold beside the default ones."""
    if not gates:
        return None
    import yaml

    file = folder / "spec.yaml"
    file.write_text(yaml.safe_dump({"gates": gates, "keep_default_gates": True}), encoding="utf-8")
    return str(file)
