"""Evaluates a composite model: its FP32 stages beside converted ones, which are given or made here."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import onnx_ir as ir

from autocast_core.composite.calibration import record_feeds
from autocast_core.composite.comparison import compare_composites
from autocast_core.composite.declaration import CompositeModel
from autocast_core.composite.execution import Sessions
from autocast_core.composite.wiring import Wiring, require_same_interface, wire
from autocast_core.config import ConversionConfig
from autocast_core.data import Batches, open_batches
from autocast_core.errors import (
    AutocastError,
    BackendError,
    ConfigError,
    DataError,
    GateError,
    InputError,
    VerificationError,
)
from autocast_core.evaluate import AskedGates, Evaluation, Fidelity, GateResult, asked_judges, parse_gate
from autocast_core.model import ModelRef, load_model
from autocast_core.model.atomic import check_inputs_stay, model_outputs
from autocast_core.pipeline.convert import convert_file
from autocast_core.pipeline.job import Job, open_runtime
from autocast_core.progress import ProgressCallback, silent
from autocast_core.runtime import Runtime, Session
from autocast_core.simulate import simulate

ALL = ""
"""The name of the candidate in which every stage is the converted one; others are called as their only such stage."""


@dataclass(frozen=True)
class StageFiles:
    """The FP32 model of a stage, and the converted one: a file, or made with `config`. Neither: it stays FP32."""

    model: ModelRef
    candidate: ModelRef | None = None
    config: ConversionConfig | None = None


@dataclass(frozen=True)
class CompositeRequest:
    """What to evaluate. `files` are those of each stage; `data` (None: seeded random) is as `open_batches` takes it.

    `simulated`: candidates run in simulation, else as ONNX Runtime executes them. `each_stage`: also with one converted
    stage at a time. What is converted is written to `output` where it is given, as ``STAGE.onnx``. `judges`, and those
    that gates name, judge the end of the chain.
    """

    composite: CompositeModel
    files: Mapping[str, StageFiles]
    data: Path | None = None
    batch_size: int = 1
    gates: tuple[str, ...] = ()
    simulated: bool = True
    each_stage: bool = False
    output: Path | None = None
    judges: tuple[str, ...] = ()


@dataclass(frozen=True)
class CompositeEvaluation:
    """What was found. `fidelity` is with all converted stages, `stages` with one at a time, by its name; `converted`
    are the written files of stages that were converted here; `task` are the accuracy's and the judges' metrics."""

    fidelity: Fidelity
    batches: int
    random: bool
    gates: tuple[GateResult, ...] = ()
    stages: Mapping[str, Fidelity] = field(default_factory=dict)
    converted: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    task: Mapping[str, float] = field(default_factory=dict)

    @property
    def metrics(self) -> dict[str, float]:
        """Every number under its name: ``fidelity/outputs/STAGE_OUTPUT/METRIC``, the worst of each, and ``task/*``."""
        return {**self.fidelity.metrics(), **self.task}


def evaluate_composite(request: CompositeRequest, progress: ProgressCallback = silent) -> CompositeEvaluation:
    """Runs the FP32 stages and the converted ones over the data and compares them where the chain ends.

    A stage that is to be converted is calibrated on what the FP32 stages before it feed it. ConfigError where the
    declaration does not fit its models, and the errors of conversion, which name the stage.
    """
    for gate in request.gates:
        parse_gate(gate)
    judges = asked_judges(request.judges, AskedGates(request.gates).judges)
    models = {name: Job(files.model, ConversionConfig()).reference() for name, files in request.files.items()}
    wiring = wire(request.composite, models)
    batches = open_batches(
        request.data, wiring.data, batch_size=request.batch_size, table_sizes=wiring.tables, finite=True
    )
    runtime = open_runtime(ConversionConfig())
    with ExitStack() as stack:
        reference = {name: stack.enter_context(closing(_open(runtime, name, model))) for name, model in models.items()}
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="autocast-composite-")))
        converted, warnings = _converted(request, wiring, reference, batches, folder, progress)
        changed = {
            name: stack.enter_context(closing(_candidate(request, wiring, name, runtime, converted)))
            for name in _changed(request)
        }
        variants = _variants(request, reference, changed)
        found = compare_composites(wiring, reference, variants, batches, progress, judges)
    everything = found.pop(ALL)
    return CompositeEvaluation(
        everything.fidelity,
        len(batches),
        request.data is None,
        _judged(request, everything),
        {name: each.fidelity for name, each in found.items()},
        {name: str(path) for name, path in converted.items()} if request.output is not None else {},
        warnings,
        everything.task_metrics(),
    )


def _changed(request: CompositeRequest) -> tuple[str, ...]:
    """The stages that differ between both forms. ConfigError where none does."""
    names = tuple(name for name, files in request.files.items() if files.candidate is not None or files.config)
    if not names:
        raise ConfigError(
            f"{request.composite.where}: no stage has a `candidate` or a `spec`: there is nothing to compare"
        )
    return names


def _variants(request: CompositeRequest, reference: Sessions, changed: Sessions) -> dict[str, Sessions]:
    alone = {name: {**reference, name: session} for name, session in changed.items()} if request.each_stage else {}
    return {ALL: {**reference, **changed}, **(alone if len(changed) > 1 else {})}


def _converted(
    request: CompositeRequest,
    wiring: Wiring,
    reference: Sessions,
    batches: Batches,
    folder: Path,
    progress: ProgressCallback,
) -> tuple[dict[str, Path], tuple[str, ...]]:
    """The files of the stages that are converted here, and what the conversions warn of."""
    wanted = [name for name in _changed(request) if request.files[name].candidate is None]
    fed = record_feeds(wiring, reference, batches, wanted, folder / "fed", progress) if wanted else {}
    made: dict[str, Path] = {}
    warnings: list[str] = []
    targets = {name: (request.output or folder) / f"{name}.onnx" for name in wanted}
    sources = [
        ref.path for files in request.files.values() for ref in (files.model, files.candidate) if ref is not None
    ]
    check_inputs_stay((path for target in targets.values() for path in model_outputs(target)), sources)
    for name, target in targets.items():
        files = request.files[name]
        with _naming(name):
            target.parent.mkdir(parents=True, exist_ok=True)
            conversion = convert_file(files.model, target, files.config, calibration=fed[name], progress=progress)
        made[name] = conversion.output.path
        warnings += [f"stage {name!r}: {warning}" for warning in conversion.warnings]
    return made, tuple(warnings)


def _candidate(
    request: CompositeRequest, wiring: Wiring, name: str, runtime: Runtime, converted: Mapping[str, Path]
) -> Session:
    """The open converted model of a stage."""
    given = request.files[name].candidate
    model = load_model(given if given is not None else converted[name])
    wired = next(each for each in wiring.stages if each.name == name)
    require_same_interface(wired, model, f"{request.composite.where}: stages.{name}.candidate")
    return _open(runtime, name, simulate(model) if request.simulated else model, exact=request.simulated)


def _open(runtime: Runtime, stage: str, model: ir.Model, *, exact: bool = False) -> Session:
    with _naming(stage):
        return runtime.open(model, exact=exact)


@contextmanager
def _naming(stage: str) -> Iterator[None]:
    """Errors within name the stage."""
    try:
        yield
    except AutocastError as error:
        kinds = (GateError, DataError, InputError, BackendError, VerificationError, AutocastError)
        kind = next(kind for kind in kinds if isinstance(error, kind))
        raise kind(f"stage {stage!r}: {error}") from error


def _judged(request: CompositeRequest, found: Evaluation) -> tuple[GateResult, ...]:
    """The gates on what was measured; none passes on random data."""
    gates = tuple(map(parse_gate, request.gates))
    if request.data is None:
        return tuple(gate.failed("no data: name evaluation data") for gate in gates)
    metrics = {**found.fidelity.metrics(), **found.task_metrics()}
    places = found.fidelity.places() | {name: place for each in found.judged for name, place in each.places().items()}
    return tuple(gate.check(metrics, found.fidelity.names, places) for gate in gates)
