"""The results as a table for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tests.benchmarks.cases import AUTOCAST, FLOOR, MATRICES, NODES, OURS, SAMPLES, SIMPLE, WITHOUT_DATA
from tests.benchmarks.flow_stages import CHILDREN
from tests.benchmarks.growth import exponent

Results = Mapping[str, Mapping[str, Any]]


def table(results: Results) -> str:
    """All results that are there, in Markdown."""
    return "\n".join([*_conversions(results), "", *_growth(results), "", *_flow(results), "", *_answers(results)])


def ratio(results: Results, case: str, other: str, field: str) -> float | None:
    """How many times as much `other` needed as we did; None where one of them has no result."""
    ours, theirs = (_done(results, f"{case} {subject}") for subject in (OURS, other))
    return theirs[field] / ours[field] if ours and theirs else None


def _done(results: Results, key: str) -> Mapping[str, Any] | None:
    found = results.get(key)
    return found if found and found["status"] == 0 else None


def _conversions(results: Results) -> Iterator[str]:
    yield "| model | converter | CPU s | wall s | peak MiB | MB out | Casts | rel L2 | CPU | memory |"
    yield "|---|---|---|---|---|---|---|---|---|---|"
    cases = dict.fromkeys(key.split(" ")[0] for key in results if not key.startswith(("flow ", "samples ", "answer ")))
    for case in cases:
        for subject in (OURS, WITHOUT_DATA, AUTOCAST, SIMPLE, FLOOR):
            found = results.get(f"{case} {subject}")
            if found is not None:
                yield f"| {case} | {subject} | {_row(results, case, subject, found)} |"


def _row(results: Results, case: str, subject: str, found: Mapping[str, Any]) -> str:
    if found["status"] != 0:
        reason = "stopped" if found["status"] is None else f"failed ({found['status']})"
        return f"{found['cpu_s']} | {found['wall_s']} | {found['peak_mib']} | {reason} | | | |"
    times = [ratio(results, case, subject, field) for field in ("cpu_s", "peak_mib")]
    cells = [found["cpu_s"], found["wall_s"], found["peak_mib"], _megabytes(found), found.get("casts", "")]
    cells += [f"{found['rel_l2']:.1e}" if "rel_l2" in found else ""]
    cells += ["" if each is None or subject == OURS else f"{each:.2f}×" for each in times]
    return " | ".join(map(str, cells))


def _megabytes(found: Mapping[str, Any]) -> str:
    return f"{found['bytes'] / 1e6:.1f}" if "bytes" in found else ""


def _growth(results: Results) -> Iterator[str]:
    imports = results.get("imports autocast-flow", {}).get("cpu_s", 0.0)
    curves = (
        ("nodes", NODES, [f"deep_{n} {OURS}" for n in NODES], imports),
        ("matrices of 64 MiB", MATRICES, [f"wide_{n} {OURS}" for n in MATRICES], 0.0),
        ("samples", SAMPLES, [f"samples {n}" for n in SAMPLES], 0.0),
    )
    for name, sizes, keys, fixed in curves:
        found = [(size, done) for size, key in zip(sizes, keys, strict=True) if (done := _done(results, key))]
        if len(found) < 2:
            continue
        yield f"over {name}: " + ", ".join(f"{size}: {d['cpu_s']} s, {d['peak_mib']} MiB" for size, d in found)
        slope = exponent([size for size, _ in found], [d["cpu_s"] for _, d in found], fixed)
        yield f"  exponent of CPU time{f' less {fixed} s of imports' if fixed else ''}: {slope:.2f}"


def _flow(results: Results) -> Iterator[str]:
    for key, found in results.items():
        if key.startswith("flow "):
            yield f"{key}: {found['cpu_s']} CPU s, {found['wall_s']} wall s, {found['peak_mib']} MiB"
            stages = dict(found["stages_cpu_s"])
            children = stages.pop(CHILDREN)
            total = found["cpu_s"] - children
            rest = {**stages, "before, between and after": total - sum(stages.values())}
            yield "  " + ", ".join(f"{name} {seconds:.2f} s ({seconds / total:.0%})" for name, seconds in rest.items())
            yield (
                f"  the core {found['core_cpu_s']} CPU s; the flow adds {found['added_s']} in a process of its own"
                f" (Prefect's server {found['server_s']}), {found['added_forked_s']} as a fork"
                f" ({found['server_forked_s']}); {found['machine']}"
            )
            yield f"  in TensorRT's process: {children:.2f} CPU s"


def _answers(results: Results) -> Iterator[str]:
    for key, found in results.items():
        if key.startswith("answer "):
            times = f"median of {found['runs']}" if found["runs"] > 1 else "once"
            cpu = f", {found['cpu_s']} CPU s" if "cpu_s" in found else ""
            yield f"{key}: {found['wall_s']} wall s ({times}){cpu}; {found['machine']}"
