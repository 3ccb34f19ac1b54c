"""The benchmarks' command line: prints the table and writes the results as JSON."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.benchmarks import cases, measure, peers, synthetic
from tests.benchmarks.answers import BAD_INPUT, BY_WORKER, local_answers, worker_answers
from tests.benchmarks.cases import AUTOCAST, FLOOR, LARGE, LARGE_NODES, MANY_NODES, OURS, REAL, SIMPLE, WITHOUT_DATA
from tests.benchmarks.flow import run_flow
from tests.benchmarks.table import table

_SECONDS = 3600.0
_LONG_SECONDS = 60.0
_PARTS = ("models", "nodes", "bytes", "samples", "flow", "answers")
_SINGLE_THREADED_ALGEBRA = {"OPENBLAS_NUM_THREADS": "1"}


def main() -> None:
    """Measure the requested parts that are not in the results yet."""
    arguments = _arguments()
    folder: Path = arguments.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    taking_part = peers.install(folder / "peers") if arguments.peers else None
    log = _Results(arguments.json or folder / "results.json", fresh=not arguments.resume)
    bench = cases.Bench(folder, taking_part)
    for part in arguments.parts:
        _MEASURES[part](bench, log, arguments)
    print(table(log.found))


def _arguments() -> argparse.Namespace:
    top = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    add = top.add_argument
    add("--folder", type=Path, default=Path(".autocast/benchmarks"), help="for models, outputs, peers (%(default)s)")
    add("--json", type=Path, help="the results (FOLDER/results.json)")
    add("--models", nargs="+", default=[*REAL, MANY_NODES, LARGE_NODES, LARGE], help="to compare on (%(default)s)")
    add("--parts", nargs="+", choices=_PARTS, default=list(_PARTS), help="what to measure (all)")
    add("--quick", action="store_true", help="only small sizes of the growth curves")
    add("--no-peers", dest="peers", action="store_false", help="without the other converters")
    add("--resume", action="store_true", help="keep the results that are there and measure the rest")
    return top.parse_args()


class _Results:
    """Results by key, written after each measurement."""

    def __init__(self, path: Path, *, fresh: bool) -> None:
        self.path = path
        self.found: dict[str, dict[str, Any]] = {} if fresh or not path.exists() else json.loads(path.read_text())

    def add(self, key: str, measured: Callable[[], dict[str, Any]]) -> None:
        if key in self.found:
            return
        self.found[key] = measured()
        print(key, self.found[key], file=sys.stderr, flush=True)
        self.path.write_text(json.dumps(self.found, indent=1) + "\n")


def _models(bench: cases.Bench, log: _Results, arguments: argparse.Namespace) -> None:
    for name in arguments.models:
        subjects = [OURS, WITHOUT_DATA, FLOOR, SIMPLE]
        # AutoCast needs an hour for 20,000 nodes.
        subjects += [] if name == LARGE_NODES else [AUTOCAST]
        for subject in subjects:
            _compare(bench, log, name, subject)


def _nodes(bench: cases.Bench, log: _Results, arguments: argparse.Namespace) -> None:
    imports = (
        "from autocast_core.process.lazy_imports import *; postpone_symbolic_shapes(); "
        "import autocast_core.pipeline.convert, onnxruntime"
    )
    command = [sys.executable, "-c", imports]
    environment = _SINGLE_THREADED_ALGEBRA
    log.add(
        f"imports {OURS}",
        lambda: measure.run(command, bench.folder / "log", timeout=_SECONDS, environment=environment).as_dict(),
    )
    for nodes in cases.NODES[:3] if arguments.quick else cases.NODES:
        _compare(bench, log, f"deep_{nodes}", OURS)


def _bytes(bench: cases.Bench, log: _Results, arguments: argparse.Namespace) -> None:
    for matrices in cases.MATRICES[:2] if arguments.quick else cases.MATRICES:
        for subject in (OURS, WITHOUT_DATA):
            _compare(bench, log, f"wide_{matrices}", subject)


def _samples(bench: cases.Bench, log: _Results, arguments: argparse.Namespace) -> None:
    built = bench.model("bert_base")
    output = bench.output("bert_base", "samples")
    for count in cases.SAMPLES[:4] if arguments.quick else cases.SAMPLES:
        data = synthetic.samples_of(built, count, bench.folder)
        command = cases.command(OURS, built, data, output, None)
        assert command is not None
        log.add(f"samples {count}", lambda command=command: _cost(bench, command))  # type: ignore[misc]


def _flow(bench: cases.Bench, log: _Results, arguments: argparse.Namespace) -> None:
    for name in ("resnet50",) if arguments.quick else ("resnet50", "bert_base"):
        built = bench.model(name)
        log.add(f"flow {name}", lambda built=built: run_flow(built, bench.folder / "flow" / built.name, _SECONDS))  # type: ignore[misc]


def _answers(bench: cases.Bench, log: _Results, arguments: argparse.Namespace) -> None:
    folder = bench.folder / "answers"
    for first, measured in ((BAD_INPUT, local_answers), (BY_WORKER, worker_answers)):
        if first in log.found or (arguments.quick and first == BY_WORKER):
            continue
        for key, found in measured(folder, _SECONDS).items():
            log.add(key, lambda found=found: found)  # type: ignore[misc]


_MEASURES = {
    "models": _models,
    "nodes": _nodes,
    "bytes": _bytes,
    "samples": _samples,
    "flow": _flow,
    "answers": _answers,
}


def _compare(bench: cases.Bench, log: _Results, name: str, subject: str) -> None:
    """The cost of one conversion, and what came out; the output is removed."""

    def measured() -> dict[str, Any]:
        built, output = bench.model(name), bench.output(name, subject)
        command = cases.command(subject, built, built.calibration, output, bench.peers)
        assert command is not None
        found = _cost(bench, command)
        if found["status"] == 0 and subject != FLOOR:
            judged = [sys.executable, "-m", "tests.benchmarks.judge", built.path, output, built.evaluation]
            result = subprocess.run([str(part) for part in judged], capture_output=True, text=True)
            found |= json.loads(result.stdout) if result.returncode == 0 else {"fidelity": result.stderr[-300:]}
        for file in output.parent.iterdir():
            file.unlink()
        return found

    if bench.peers is not None or subject not in (AUTOCAST, SIMPLE):
        log.add(f"{name} {subject}", measured)


def _cost(bench: cases.Bench, command: cases.Command) -> dict[str, Any]:
    """Of three runs the one that took the median of CPU time; of one where that takes more than a minute or fails."""
    costs = []
    for _ in range(3):
        costs.append(measure.run(command, bench.folder / "log", timeout=_SECONDS, environment=_SINGLE_THREADED_ALGEBRA))
        if costs[-1].status != 0 or costs[-1].cpu > _LONG_SECONDS:
            return costs[-1].as_dict()
    return sorted(costs, key=lambda cost: cost.cpu)[1].as_dict()


if __name__ == "__main__":
    main()
