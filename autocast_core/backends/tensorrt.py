"""TensorRT (10, 11) and TensorRT for RTX as judges of a model: does it parse, does it build, in which types.

Neither package is imported here: they can end the process (classic TensorRT does without a driver), so a child process
uses them (`tensorrt_child`) and this module judges what it found. What a machine cannot do is skipped with a reason.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import onnx_ir as ir

from autocast_core.backends.tensorrt_child import PACKAGES, has_driver
from autocast_core.backends.validation import Depth, Finding, LayerTypes, Validation
from autocast_core.config import Precision
from autocast_core.model import load_model
from autocast_core.model.paths import is_counted, nodes_with_ids
from autocast_core.plan import PrecisionPlan
from autocast_core.schemas.types import element_type, type_string

NOT_INSTALLED = "TensorRT is not installed: install the extra tensorrt-rtx or gpu"
TIMEOUT = 600.0
_FLOATS = frozenset({"float", "float16", "bfloat16", "double"})
_WORDS = 500
_NODE_IN_LOG = re.compile(r"// (.+?)(?:\n|$)")
"""Builder messages quote the ONNX node after two slashes at the end of a line, if it is not cut off before."""
_TENSOR_IN_LOG = re.compile(r"operation:\s+\d+: \w+: (.+?)-\(")
"""They begin with the tensor that the operation writes."""
_PLACES = (lambda count: 0, lambda count: count // 2, lambda count: count - 1)
_NO_DEVICE = re.compile(r"\s*(?:In function \w+:\s*)?[^.\n]*cudaError 35[^\n]*")
"""Without a GPU every message ends in this, whatever went wrong."""


@dataclass(frozen=True)
class Profile:
    """The shapes of a dynamic input that an engine is built for."""

    min: tuple[int, ...]
    opt: tuple[int, ...]
    max: tuple[int, ...]


def profiles_of(shapes: Mapping[str, Iterable[Sequence[int]]]) -> dict[str, Profile]:
    """Profiles that hold the given shapes of each input: the smallest, the median and the largest of each dimension.

    `shapes` is input name to the shapes seen, for example those of the calibration batches; all of one rank.
    """
    profiles = {}
    for name, seen in shapes.items():
        sizes = [sorted(each) for each in zip(*seen, strict=True)]
        low, middle, high = (tuple(each[place(len(each))] for each in sizes) for place in _PLACES)
        profiles[name] = Profile(low, middle, high)
    return profiles


def validate_model(
    path: str | Path,
    plan: PrecisionPlan | None = None,
    profiles: Mapping[str, Profile] | None = None,
    *,
    build: bool = True,
    plugins: Sequence[str] = (),
    workspace_bytes: int | None = None,
    timeout: float = TIMEOUT,
) -> Validation:
    """What TensorRT says of the model at `path`, as deep as this machine allows.

    Parses it, compares the element type of every network tensor with the ONNX value it stands for (and with `plan`,
    where given), then builds a strongly typed engine ahead of time. Dynamic dimensions are taken from `profiles`, 1
    where an input has none. `timeout` is in seconds, for everything. Raises ModelError when the file cannot be read as
    a model; whatever TensorRT does is in the result.
    """
    model = load_model(path)
    if not any(find_spec(name) for name in PACKAGES):
        return Validation(skipped=(NOT_INSTALLED,))
    request = {
        "model": str(path),
        "build": build,
        "profiles": {name: [each.min, each.opt, each.max] for name, each in (profiles or {}).items()},
        "plugins": list(plugins),
        "workspace_bytes": workspace_bytes,
    }
    events, ending = _run_child(request, timeout)
    found = _read(events, ending, model, build)
    if "parsed" not in events or not events["parsed"]["ok"]:
        return found
    layers = _layers(model, events["parsed"]["tensors"])
    disagreements = (*_type_findings(layers), *_output_findings(model, events["parsed"]["outputs"]))
    against_plan = _plan_findings(layers, plan, model) if plan is not None else ()
    return replace(found, layers=layers, findings=(*found.findings, *disagreements, *against_plan))


def _run_child(request: Mapping[str, Any], timeout: float) -> tuple[dict[str, Any], str | None]:
    """The child's events by name, and how it ended where that was not well."""
    root = str(Path(__file__).resolve().parents[2])
    search = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    with tempfile.TemporaryDirectory(prefix="autocast-tensorrt-") as folder:
        asked, answers = Path(folder) / "request.json", Path(folder) / "events.jsonl"
        asked.write_text(json.dumps(request), encoding="utf-8")
        command = [sys.executable, "-m", "autocast_core.backends.tensorrt_child", str(asked), str(answers)]
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                env={**os.environ, "PYTHONPATH": search},
                timeout=timeout,
                check=False,
            )
            ending = _ending(done.returncode, done.stderr.decode(errors="replace"))
        except subprocess.TimeoutExpired:
            ending = f"took longer than {timeout:g} s"
        lines = answers.read_text(encoding="utf-8").splitlines(keepends=True) if answers.exists() else []
        events = (json.loads(line) for line in lines if line.endswith("\n"))
        return {event.pop("event"): event for event in events}, ending


def _ending(code: int, stderr: str) -> str | None:
    if code == 0:
        return None
    if code == -signal.SIGKILL:
        return "was killed, probably for want of memory"
    if code < 0:
        return f"crashed ({signal.Signals(-code).name})"
    lines = stderr.strip().splitlines()
    return f"failed: {lines[-1][:_WORDS] if lines else f'exit code {code}'}"


def _read(events: Mapping[str, Any], ending: str | None, model: ir.Model, build: bool) -> Validation:
    """The validation that the events tell of, layers aside."""
    package, parsed, built = events.get("package"), events.get("parsed"), events.get("built")
    findings = [*_parser_findings(parsed, model), *_builder_findings(built, model)]
    skipped = [f"{event['stage']}: {event['reason']}" for event in (events.get("skipped"),) if event]
    depth: Depth = "built" if built and built["ok"] else "parsed" if parsed and parsed["ok"] else "none"
    if ending is not None:
        stage = "build" if depth == "parsed" else "parse"
        if "crashed" in ending or "failed" in ending:
            findings.append(Finding("", "", "CRASH", f"the {stage} {ending}"))
        else:
            skipped.append(f"{stage}: {ending}")
    elif depth == "parsed" and not build:
        skipped.append("build: not asked for")
    if depth == "built":
        driver = "no outputs were compared on this machine's GPU" if has_driver() else "no NVIDIA driver"
        skipped.append(f"execution: {driver}")
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


def _parser_findings(parsed: Mapping[str, Any] | None, model: ir.Model) -> list[Finding]:
    if parsed is None:
        return []
    ids = {node.name: node_id for node_id, node in nodes_with_ids(model.graph) if node.name}
    nodes = list(model.graph)
    findings = []
    for error in parsed["errors"]:
        inside = 0 <= error["index"] < len(nodes)
        name = error["node"] or (nodes[error["index"]].name if inside else "") or ""
        findings.append(Finding(ids.get(name, name), error["op"], error["code"], _words(error["words"])))
    return findings


def _builder_findings(built: Mapping[str, Any] | None, model: ir.Model) -> list[Finding]:
    if built is None or built["ok"]:
        return []
    findings = [
        Finding(*_node_in_message(text, model), "BUILD", _words(text)) for text in built["errors"] if _words(text)
    ]
    return findings or [Finding("", "", "BUILD", "no engine came out")]


def _node_in_message(text: str, model: ir.Model) -> tuple[str, str]:
    """The id and operator of the node that a builder's message names, itself or by what it writes; else empty."""
    by_name, by_output = {}, {}
    for node_id, node in nodes_with_ids(model.graph):
        by_name[node.name] = (node_id, node.op_type)
        by_output.update({value.name: (node_id, node.op_type) for value in node.outputs})
    quoted, tensor = _NODE_IN_LOG.search(text), _TENSOR_IN_LOG.search(text)
    found = by_name.get(quoted.group(1).strip()) if quoted else None
    return found or (by_output.get(tensor.group(1)) if tensor else None) or ("", "")


def _words(text: str) -> str:
    return " ".join(_NO_DEVICE.sub("", text).split())[:_WORDS]


def _layers(model: ir.Model, tensors: Mapping[str, Sequence[str]]) -> tuple[LayerTypes, ...]:
    """Per node, the types of those outputs that the network has under their ONNX names."""
    layers = []
    for node_id, node in nodes_with_ids(model.graph):
        outputs = [v for v in node.outputs if v.name in tensors and element_type(v) is not None]
        if outputs:
            found = tuple(tensors[v.name or ""][0] for v in outputs)
            layers.append(
                LayerTypes(node_id, node.op_type, tensors[outputs[0].name or ""][1], found, tuple(map(_name, outputs)))
            )
    return tuple(layers)


def _name(value: ir.Value) -> str:
    dtype = element_type(value)
    return "" if dtype is None else type_string(ir.TensorType(dtype)).removeprefix("tensor(").removesuffix(")")


def _type_findings(layers: Iterable[LayerTypes]) -> tuple[Finding, ...]:
    return tuple(
        Finding(
            each.node, each.op, "TYPE", f"TensorRT has {_list(each.types)} where the model says {_list(each.expected)}"
        )
        for each in layers
        if each.types != each.expected
    )


def _output_findings(model: ir.Model, outputs: Mapping[str, str]) -> tuple[Finding, ...]:
    """Graph outputs whose declared type TensorRT silently overrides."""
    ids = {
        value.name: (node_id, node.op_type) for node_id, node in nodes_with_ids(model.graph) for value in node.outputs
    }
    findings = []
    for value in model.graph.outputs:
        found, declared = outputs.get(value.name or ""), _name(value)
        if found is not None and declared and found != declared:
            words = f"output {value.name!r} is {found} in TensorRT where the model declares {declared}"
            findings.append(Finding(*ids.get(value.name, ("", "")), "OUTPUT_TYPE", words))
    return tuple(findings)


def _plan_findings(layers: Iterable[LayerTypes], plan: PrecisionPlan, model: ir.Model) -> tuple[Finding, ...]:
    """Nodes that write nothing in the precision that the plan gave them."""
    wanted = plan.by_id()
    counted = {node_id for node_id, node in nodes_with_ids(model.graph) if is_counted(node)}
    findings = []
    for each in layers:
        decision = wanted.get(each.node)
        floats = _FLOATS.intersection(each.types)
        if decision is None or each.node not in counted or decision.precision is Precision.NONE or not floats:
            continue
        type_name = {Precision.FP16: "float16", Precision.BF16: "bfloat16"}.get(decision.precision, "float")
        if type_name not in floats:
            words = f"TensorRT writes {_list(sorted(floats))} where the plan says {decision.precision}"
            findings.append(Finding(each.node, each.op, "PLAN", words))
    return tuple(findings)


def _list(names: Iterable[str]) -> str:
    return ", ".join(names)
