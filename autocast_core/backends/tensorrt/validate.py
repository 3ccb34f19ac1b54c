"""Validates a model with TensorRT (10, 11) or TensorRT for RTX: whether it parses, builds and runs.

Neither package is imported here: they can end the process (classic TensorRT does without a driver), so a child process
uses them (`autocast_core.backends.tensorrt.child`) and this module interprets its events. What a machine cannot do is
skipped with a reason.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import onnx_ir as ir

from autocast_core.backends.cuda_driver import has_driver
from autocast_core.backends.tensorrt.child import PACKAGES
from autocast_core.backends.tensorrt.engine_view import engine_view
from autocast_core.backends.tensorrt.execution import EngineTrial, execution_of, write_feeds
from autocast_core.backends.tensorrt.findings import (
    builder_findings,
    has_remedy,
    network_layers,
    output_findings,
    parser_findings,
    plan_findings,
    short,
    type_findings,
    with_remedy,
)
from autocast_core.engine.options import EngineOptions
from autocast_core.engine.validation import FP32, MIXED, Depth, Finding, Validation
from autocast_core.model import load_model
from autocast_core.plan import PrecisionPlan
from autocast_core.process.child import ending, last_line, module_command, with_package_path

NOT_INSTALLED = "TensorRT is not installed: install the extra tensorrt-rtx or gpu"
NO_DRIVER = "execution: no NVIDIA driver"
_LONGEST_REASON = 500


def is_installed() -> bool:
    """Whether a package of TensorRT is here, which builds engines on any machine."""
    return any(find_spec(name) for name in PACKAGES)


def validate_model(
    path: str | Path,
    plan: PrecisionPlan | None = None,
    options: EngineOptions | None = None,
    *,
    model: ir.Model | None = None,
    build: bool = True,
    trial: EngineTrial | None = None,
    engine: Path | None = None,
    reference: Path | None = None,
) -> Validation:
    """Validates the model at `path` with TensorRT, as far as this machine allows: parse, build, execute.

    Parses it, compares the element type of every network tensor with the ONNX value it stands for (and with `plan`,
    where given), then builds a strongly typed engine ahead of time and reads its kernels from the build log; with a
    `reference`, the FP32 model, those of its engine too. With a `trial` and an NVIDIA GPU it also runs the engine
    beside one of the trial's reference. `engine` is a file to write the engine to; `model` is what the file at `path`
    holds, where the caller has read it already. Raises ModelError when a file cannot be read as a model, DataError when
    the trial's data does not fit; whatever TensorRT does is in the result.
    """
    options = options or EngineOptions()
    model = model or load_model(path)
    if not is_installed():
        return Validation(skipped=(NOT_INSTALLED,))
    tried = trial if build and has_driver() else None
    beside = tried.reference if tried else reference if build else None
    with tempfile.TemporaryDirectory(prefix="autocast-tensorrt-") as folder:
        request = {
            "model": str(path),
            "build": build,
            "profiles": {name: [each.min, each.opt, each.max] for name, each in options.profiles.items()},
            "plugins": list(options.plugins),
            "workspace_bytes": options.workspace_bytes,
            "timing_cache": str(options.timing_cache) if options.timing_cache else None,
            "engine": str(engine) if engine else None,
            "reference": str(beside) if beside else None,
            "trial": write_feeds(tried, Path(folder)) if tried else None,
        }
        events, problem = _run_child(request, Path(folder), options.timeout)
        of_reference = problem if beside is not None and tried is None and "engine" in events else None
        found = _read(events, None if of_reference else problem, model, build, trial)
        if "parsed" not in events or not events["parsed"]["ok"]:
            return found
        layers = network_layers(model, events["parsed"]["tensors"])
        disagreements = (*type_findings(layers), *output_findings(model, events["parsed"]["outputs"]))
        against_plan = plan_findings(layers, plan, model) if plan is not None else ()
        found = replace(found, layers=layers, findings=(*found.findings, *disagreements, *against_plan))
        found = _with_views(found, events, model, beside, of_reference)
        if tried is None or "ran" not in events:
            return found
        execution = execution_of(tried, events, model, Path(folder), found.package or "tensorrt")
        return replace(found, depth="executed", execution=execution)


def _with_views(
    found: Validation, events: Mapping[str, Any], model: ir.Model, reference: Path | None, failed: str | None
) -> Validation:
    """The validation with the views of the engines that were built, or with the reasons why there is none; `failed`
    says how the child failed at that of the reference."""
    reasons, view, fp32_view = [], None, None
    if "engine" in events:
        view, problem = engine_view(events["engine"], model, _inspected(events, MIXED))
        reasons += [f"engine view: {problem} ({found.package})"] if problem else []
    if "reference engine" in events and reference is not None:
        fp32_view, problem = engine_view(events["reference engine"], load_model(reference), _inspected(events, FP32))
        reasons += [f"engine view of the FP32 model: {problem} ({found.package})"] if problem else []
    elif reference is not None and "engine" in events:
        reasons.append(f"engine of the FP32 model: {failed or _refusal(events)}")
    return replace(found, engine_view=view, fp32_view=fp32_view, skipped=(*found.skipped, *reasons))


def _inspected(events: Mapping[str, Any], side: str) -> str | None:
    """The inspector's JSON of the engine that was executed."""
    text: str | None = events.get(f"loaded {side}", {}).get("inspected")
    return text


def _refusal(events: Mapping[str, Any]) -> str:
    """Why no engine of the reference came out, in TensorRT's words."""
    parsed, built = events.get("reference parsed"), events.get("reference built")
    if parsed is not None and not parsed["ok"]:
        return short(parsed["errors"][0]["words"]) or "it is refused"
    if built is not None and not built["ok"]:
        return short(built["errors"][0]) or "it is refused"
    return "it was not built"


def _run_child(request: Mapping[str, Any], folder: Path, timeout: float) -> tuple[dict[str, Any], str | None]:
    """The child's events by name, and how it failed; None: it did not."""
    request_file, events_file, stderr = (folder / name for name in ("request.json", "events.jsonl", "stderr"))
    request_file.write_text(json.dumps(request), encoding="utf-8")
    try:
        with open(stderr, "wb") as stream:
            code = subprocess.run(
                module_command("autocast_core.backends.tensorrt.child", str(request_file), str(events_file)),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stream,
                env=with_package_path(os.environ),
                timeout=timeout,
                check=False,
            ).returncode
        problem = _problem(code, last_line(stderr, _LONGEST_REASON))
    except subprocess.TimeoutExpired:
        problem = f"took longer than {timeout:g} s"
    lines = events_file.read_text(encoding="utf-8").splitlines(keepends=True) if events_file.exists() else []
    # A child that is killed may leave half a line.
    events = (json.loads(line) for line in lines if line.endswith("\n"))
    return {event.pop("event"): event for event in events}, problem


def _problem(code: int, message: str) -> str | None:
    """How the child failed, given its exit code and the last line of its stderr; None: it did not."""
    if code <= 0:
        return ending(code) if code else None
    return f"failed: {message or f'exit code {code}'}"


def _read(
    events: Mapping[str, Any], problem: str | None, model: ir.Model, build: bool, trial: EngineTrial | None
) -> Validation:
    """The validation that the child's events amount to, without layers and execution."""
    package, parsed, built = events.get("package"), events.get("parsed"), events.get("built")
    findings = [*parser_findings(parsed, model), *builder_findings(built, model)]
    skipped = [f"{event['stage']}: {event['reason']}" for event in (events.get("skipped"),) if event]
    depth: Depth = "built" if built and built["ok"] else "parsed" if parsed and parsed["ok"] else "none"
    if problem is not None:
        stage = {"none": "parse", "parsed": "build", "built": "execution"}[depth]
        if problem.startswith(("crashed", "failed")):
            findings.append(Finding("", "", "CRASH", f"the {stage} {problem}"))
        else:
            skipped.append(f"{stage}: {problem}")
    elif depth == "parsed" and not build:
        skipped.append("build: not requested")
    elif depth == "built":
        finding, reason = _execution_stopped(events.get("stopped"), trial, "ran" in events)
        findings += [finding] if finding else []
        skipped += [reason] if reason else []
    return Validation(
        depth=depth,
        skipped=tuple(skipped),
        findings=tuple(findings),
        versions={package["name"]: package["version"]} if package else {},
        package=f"{package['name']} {package['version']}" if package else None,
        engine_bytes=built.get("bytes") if built else None,
        seconds={name: event["seconds"] for name, event in (("parse", parsed), ("build", built)) if event},
        log=tuple(events.get("log", {}).get("lines", ())),
    )


def _execution_stopped(
    stopped: Mapping[str, Any] | None, trial: EngineTrial | None, ran: bool
) -> tuple[Finding | None, str | None]:
    """Why a built engine did not run: a finding where the engine is to blame, else a reason to skip."""
    if stopped is not None:
        message = short(stopped["reason"]) or stopped["reason"]
        if has_remedy(stopped["reason"]):
            return None, f"execution: {with_remedy(stopped['reason'])}"[:_LONGEST_REASON]
        return Finding("", "", "EXECUTE", message), None
    if not has_driver():
        return None, NO_DRIVER
    if trial is None:
        return None, "execution: no FP32 reference was given to compare with"
    return None, None if ran else "execution: the engine gave no outputs"
