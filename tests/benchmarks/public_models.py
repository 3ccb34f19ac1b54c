"""`python -m tests.benchmarks.public_models`: models that public packages ship, converted as `autocast run` does.

The packages' wheels and the models stay in the folder that is given; nothing of them belongs to this project.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir

from autocast_core import Precision
from autocast_core.evaluate import AskedGates
from autocast_core.model import save_model
from autocast_core.pipeline.artifacts import Converted
from autocast_core.pipeline.convert import planning_stages
from autocast_core.pipeline.job import Job
from autocast_core.pipeline.measured import measured_model
from autocast_core.pipeline.stage import in_this_process, run_stages
from autocast_core.pipeline.stages.evaluate import Evaluated
from autocast_core.pipeline.stages.load import LOAD
from autocast_core.simulate import simulate
from flows.request.spec import Spec
from tasks.stages.gates import check_gates
from tests.benchmarks.public.public_packages import PUBLIC_MODELS, PublicModel, Sample, fetch
from tests.benchmarks.public.public_tasks import Outputs

_HEADER = "| model | type | MB before | MB | kept nodes | SQNR dB | task, simulated | gates | s |"


def main() -> None:
    """Print a row for each model and type as it is done."""
    arguments = _arguments()
    logging.disable(logging.WARNING)
    folder: Path = arguments.folder.absolute()
    # Some are made from what others give.
    for model in PUBLIC_MODELS.values():
        fetch(model, folder)
    print(_HEADER)
    print("|---|---|---|---|---|---|---|---|---|")
    for name, model in PUBLIC_MODELS.items():
        if arguments.models and not any(part in name for part in arguments.models):
            continue
        for precision in map(Precision, arguments.types):
            try:
                cells = converted(model, fetch(model, folder), precision, arguments.decide).cells()
            except Exception as error:
                cells = f"{type(error).__name__}: {str(error)[:200]}"
            print(f"| {name} | {precision} | {cells} |", flush=True)


def _arguments() -> argparse.Namespace:
    top = argparse.ArgumentParser(prog="python -m tests.benchmarks.public_models", description=__doc__)
    top.add_argument("models", nargs="*", help="parts of names of models (all)")
    top.add_argument("--folder", type=Path, default=Path(".autocast/public_models"), help="%(default)s")
    top.add_argument("--types", nargs="+", choices=("fp16", "bf16"), default=["fp16", "bf16"], help="%(default)s")
    top.add_argument("--decide", choices=("thresholds", "measured"), default="measured", help="%(default)s")
    return top.parse_args()


@dataclass(frozen=True)
class Row:
    """Bytes before and after, FP32 nodes of all float nodes, SQNR in dB of the worst batch in simulation, agreement of
    the task, gates that are missed, seconds."""

    before: int
    after: int
    kept: int
    floats: int
    sqnr: float
    task: str
    missed: str
    seconds: float

    def cells(self) -> str:
        """The cells of a Markdown row."""
        return (
            f"{self.before / 1e6:.2f} | {self.after / 1e6:.2f} | {self.kept} of {self.floats} | {self.sqnr:.1f}"
            f" | {self.task} | {self.missed or 'passed'} | {self.seconds:.0f}"
        )


def converted(model: PublicModel, path: Path, precision: Precision, decide: str) -> Row:
    """Plan on some samples, convert, and judge on as many others."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        calibration, held_out = (Path(scratch) / name for name in ("calibration", "evaluation"))
        write_samples(model.samples(np.random.default_rng(1), path), calibration)
        samples = model.samples(np.random.default_rng(2), path)
        write_samples(samples, held_out)
        job = Job(
            path,
            Spec(precision=precision.value, decide=decide).config(),
            calibration=calibration,
            evaluation=held_out,
            allow_nonfinite=False,
        )
        around = in_this_process(job)
        made = measured_model(job, run_stages((LOAD, *planning_stages(job.config)), around), around, around)
        found, evaluated = made[Converted], made[Evaluated]
        written = save_model(found.model, Path(scratch) / "converted.onnx")
        gates = check_gates(AskedGates(allow_random=False), evaluated, precision)
        missed = "; ".join(f"{gate.expression}: {gate.reason}" for gate in gates if not gate.passed)
        task = model.task(_run(job, job.original(), samples), _run(job, simulate(found.model), samples))
        counts = found.plan.counts()
        return Row(
            path.stat().st_size,
            written.bytes,
            counts.fp32,
            counts.fp32 + counts.low_precision,
            evaluated.metrics.get("fidelity/worst_batch/sqnr_db", float("nan")),
            task,
            missed.replace("|", "/"),
            time.monotonic() - started,
        )


def write_samples(samples: list[Sample], folder: Path) -> None:
    folder.mkdir()
    for number, sample in enumerate(samples):
        np.savez(folder / f"{number:03}.npz", **sample)  # type: ignore[arg-type]


def _run(job: Job, model: ir.Model, samples: list[Sample]) -> Outputs:
    with closing(job.runtime.open(model, exact=True)) as session:
        return [session.run(dict(sample)) for sample in samples]


if __name__ == "__main__":
    main()
