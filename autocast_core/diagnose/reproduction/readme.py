"""The text of a reproduction's README.md: what is wrong, what was expected, and how to see it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx_ir as ir

from autocast_core.diagnose.reproduction.reproduction import Reproduction
from autocast_core.diagnose.reproduction.sub_models import node_count
from autocast_core.graph.walk import all_nodes
from autocast_core.text import how_many, visible
from autocast_core.version import VERSION

_ROWS = 5


def readme(found: Reproduction) -> str:
    """The text."""
    culprit, fault = found.culprit, found.fault
    lines = [
        f"# {_plain(found.title)}",
        "",
        _plain(culprit.explanation),
        "",
        *_table(found.shown.expected, found.shown.found),
        "",
        f"Relative L2 error: {found.rel_l2:.4g}.",
        "",
        "## See it",
        "",
        "```sh",
        "pip install onnxruntime numpy",
        "python reproduce.py",
        "```",
        "",
        "| file | holds |",
        "|---|---|",
        f"| `candidate.onnx` | the candidate's {_nodes(fault.candidate)} in question, in its types |",
    ]
    if found.is_simulated:
        lines.append(
            "| `candidate_simulated.onnx` | the same in FP32, with a Cast to 16 bits and back wherever the candidate"
            " stores 16 bits: CPU providers compute 16-bit graphs in FP32 and leave these roundings out |"
        )
    if fault.reference is None:
        lines.append("| `expected.npy` | what the reference gave there |")
    else:
        of = "the candidate's nodes in FP32" if found.same_nodes else f"the reference's {_nodes(fault.reference)} there"
        lines.append(f"| `reference.onnx` | {of} |")
    lines += [
        "| `inputs.npz` | what they were fed: values of the reference on the worst batch, cut down |",
        "",
        "Shapes, inputs and weights are cut down as far as the fault stays; no more of the models is in these files.",
        "",
        "## Where it is",
        "",
        f"- in the candidate: {_listed(culprit.candidate_nodes) or _code(culprit.candidate_value)}",
        f"- in the reference: {_listed(culprit.reference_nodes) or _code(culprit.reference_value)}",
        f"- outputs that it reaches: {_listed(culprit.outputs)}",
        f"- remedy: {_plain(culprit.remedy.text)}",
        "",
        f"Written by `autocast diagnose --reproduce`, AutoCast Flow {VERSION}.",
    ]
    return "\n".join(lines) + "\n"


def _table(expected: np.ndarray, found: np.ndarray) -> list[str]:
    """The elements with the largest errors; the shapes where these differ in size."""
    if expected.size != found.size:
        return [f"Expected shape: {list(expected.shape)}. Actual: {list(found.shape)}."]
    left, right = expected.reshape(-1).astype(np.float64), found.reshape(-1).astype(np.float64)
    with np.errstate(all="ignore"):
        error = np.abs(left - right)
    error[~np.isfinite(error)] = np.inf
    places = np.argsort(-error, kind="stable")[:_ROWS]
    rows = [f"| {int(place)} | {left[place]:.8g} | {right[place]:.8g} |" for place in places]
    return ["| element | expected | actual |", "|---|---|---|", *rows]


def _nodes(model: ir.Model) -> str:
    kinds = list(dict.fromkeys(node.op_type for node in all_nodes(model.graph)))
    return f"{how_many(node_count(model), 'node')} ({_plain(', '.join(kinds))})"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(_code(name) for name in names)


def _code(name: str) -> str:
    return f"`{_plain(name)}`"


def _plain(text: str) -> str:
    """Text of anyone's model that changes nothing of the page around it."""
    return visible(text, 500).replace("`", "'").replace("|", "/").replace("<", "‹")
