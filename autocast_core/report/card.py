"""The model card: what lies beside a converted model and says what it is, how good, how to use it, and what is unknown.

Its parts follow Mitchell et al., Model Cards for Model Reporting, FAT* 2019, as far as a conversion can know them.
"""

from __future__ import annotations

from collections.abc import Sequence

from autocast_core.precision import types_text
from autocast_core.report.before_after import plain
from autocast_core.report.content import ReportInput, alerts, before_after, gate_outcome, kept_nodes, unchecked
from autocast_core.report.text import markdown, number, table
from autocast_core.verify.interface import ModelInterface, Port

_KEPT = 20
PortRow = tuple[str, str, str, str]
"""Of an input or output: which of the two it is, its name, type and shape, as text."""


def port_rows(interface: ModelInterface) -> tuple[PortRow, ...]:
    """The inputs and outputs of a model as a card lists them."""
    return tuple(
        (role, port.name, _type(port), _shape(port))
        for role, ports in (("input", interface.inputs), ("output", interface.outputs))
        for port in ports
    )


def card(report: ReportInput, ports: Sequence[PortRow], file_name: str, review: str = "") -> str:
    """The card of the model `file_name` with the inputs and outputs `ports`; `review` says where its run is."""
    counts, types = report.plan.counts(), report.plan.low_types
    precision = types_text(types, " and ")
    sections = (
        f"# {markdown(report.name)}",
        f"A mixed FP32-{types_text(types, '-').upper()} form of an FP32 ONNX model: {counts.low_precision:,} of"
        f" {counts.low_precision + counts.fp32:,} float nodes ({counts.share:.2%}) compute in {precision}, the others"
        f" in FP32. {gate_outcome(report).sentence} {review}".rstrip(),
        *(f"**{markdown(line, 400)}**" for line in alerts(report)),
        f"## Use\n\n{_use(precision, file_name)}",
        f"## Inputs and outputs\n\n{_ports(ports)}",
        f"## Accuracy and size\n\n{_measured(report)}",
        f"## Gates\n\n{_gates(report)}" if report.gates else "",
        f"## Nodes that stay in FP32\n\n{_kept(report)}",
        "## Limits: what was not checked\n\n" + "\n".join(f"- {markdown(line, 400)}" for line in unchecked(report)),
        f"## Where it comes from\n\n{_origin(report)}",
    )
    return "\n\n".join(section for section in sections if section) + "\n"


def _use(precision: str, file_name: str) -> str:
    name = markdown(file_name)
    return (
        "The types in the file are the precision of the engine: build it with TensorRT's strongly typed networks"
        f" (`trtexec --onnx=FILE --stronglyTyped`, FILE being {name}). ONNX Runtime serves it too"
        + (", on a GPU; its CPU provider has no BF16 kernels." if "bf16" in precision else ".")
    )


def _ports(ports: Sequence[PortRow]) -> str:
    return table(("", "name", "type", "shape"), [tuple(map(markdown, row)) for row in ports])


def _type(port: Port) -> str:
    return str(port.type).lower() if port.type is not None else "unknown"


def _shape(port: Port) -> str:
    if port.dims is None:
        return "unknown"
    return " × ".join("?" if dim is None else str(dim) for dim in port.dims) or "scalar"


def _measured(report: ReportInput) -> str:
    rows = (
        tuple(map(markdown, (each.quantity, plain(each.before), plain(each.after), each.backend)))
        for each in before_after(report)
    )
    return table(("", "FP32 source", "this model", "measured on"), rows)


def _gates(report: ReportInput) -> str:
    rows = (
        (markdown(gate.expression), number(gate.value), "passed" if gate.passed else "failed") for gate in report.gates
    )
    return table(("gate", "measured", "result"), rows)


def _kept(report: ReportInput) -> str:
    kept: Sequence[tuple[str, str, str]] = [
        (markdown(node.id), markdown(node.op_type), markdown(node.reason, 240)) for node in kept_nodes(report.plan)
    ]
    if not kept:
        return "None."
    rest = f"\n\n… and {len(kept) - _KEPT:,} more in the run's plan.json." if len(kept) > _KEPT else ""
    return table(("node", "operator", "why"), kept[:_KEPT]) + rest


def _origin(report: ReportInput) -> str:
    rows = [
        ("source", report.source.uri),
        ("sha256 of the source", report.source.sha256),
        ("sha256 of this model", report.output.sha256),
        *((f"{each.purpose} data", f"{each.origin}, sha256 {each.digest or '–'}") for each in report.data),
        ("run", report.run_id or "–"),
        *((f"version of {name}", version) for name, version in report.versions.items()),
    ]
    return table(("", ""), ((markdown(name), markdown(value, 300)) for name, value in rows))
