"""`python -m tests.benchmarks.engine`: what engines TensorRT for RTX makes of models in FP32, all in 16 bits, and as
each converter leaves them: kernels, traffic, fused attention, estimated time, and the accuracy that goes with it.

No GPU takes part: engines are built and read, times are estimated, accuracy is that of the simulation.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from autocast_core.backends.tensorrt.validate import validate_model
from autocast_core.config import ConversionConfig
from autocast_core.data import input_specs, open_batches
from autocast_core.engine.devices import DEFAULT_DEVICE, devices
from autocast_core.model import load_model
from autocast_core.pipeline.convert import convert_file
from autocast_core.targets.fitting import engine_options
from tests.benchmarks.judge import judge
from tests.benchmarks.peers import Peers
from tests.models import ARCHITECTURES, DETECTORS, BuiltModel, build

FP32, LOWEST, THRESHOLDS, MEASURED, AUTOCAST = "FP32", "all 16-bit", "thresholds", "measured", "AutoCast"
OPTIONS: Mapping[str, Mapping[str, object]] = {
    LOWEST: {"data_max": math.inf, "init_max": math.inf, "small_values": False},
    THRESHOLDS: {},
    MEASURED: {"decide": "measured", "target": "tensorrt"},
}
"""How AutoCast Flow is asked for each of its columns. For TensorRT, measurement computes in FP32 inside kernels."""
COLUMNS = (FP32, *OPTIONS, AUTOCAST)
_SECONDS = 3600.0


@dataclass(frozen=True)
class EngineRow:
    """An engine: kernels, those that only move or cast, attention cores fused and found, bytes of all and of the moving
    kernels, milliseconds as estimated, the SQNR in dB of the worst output in simulation, seconds that its build took;
    or, as `problem`, why there is none."""

    kernels: int = 0
    moving: int = 0
    fused: int = 0
    found: int = 0
    traffic_bytes: int | None = None
    cast_bytes: int | None = None
    estimated_ms: float | None = None
    sqnr_db: float | None = None
    build_s: float = 0.0
    problem: str = ""

    def engine(self) -> str:
        """Kernels, MB that they move, attention cores fused of those found."""
        if self.problem:
            return "fails"
        moved = "–" if self.traffic_bytes is None else f"{self.traffic_bytes / 1e6:.1f}"
        return f"{self.kernels}, {moved}" + (f", {self.fused} of {self.found}" if self.found else "")

    def worth(self) -> str:
        """SQNR in dB and estimated milliseconds."""
        parts = ((self.sqnr_db, ".1f"), (self.estimated_ms, ".3f"))
        return ", ".join("–" if each is None else f"{each:{form}}" for each, form in parts)


def main() -> None:
    """Make the rows that the results lack, and print the tables."""
    arguments = _arguments()
    logging.disable(logging.WARNING)
    folder: Path = arguments.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    results = folder / f"engine{arguments.layers or ''}.json"
    found = json.loads(results.read_text(encoding="utf-8")) if results.exists() else {}
    peers = Peers(arguments.peers) if arguments.peers else None
    for name, make in _models(arguments, folder):
        for column in arguments.columns:
            if (f"{name} {column}" in found and not arguments.fresh) or (column == AUTOCAST and peers is None):
                continue
            row = _row(make(), column, peers, arguments.device)
            print(name, column, row, file=sys.stderr, flush=True)
            found[f"{name} {column}"] = asdict(row)
            results.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(table({key: EngineRow(**each) for key, each in found.items()}))


def table(rows: Mapping[str, EngineRow]) -> str:
    """Two tables in Markdown, a line for each model: the engines, and what they are worth. Keys are MODEL COLUMN."""
    names = dict.fromkeys(
        next(key.removesuffix(f" {each}") for each in COLUMNS if key.endswith(f" {each}")) for key in rows
    )
    lines = []
    for title, cell in (
        ("kernels, MB, attention fused", EngineRow.engine),
        ("SQNR in dB, estimated ms", EngineRow.worth),
    ):
        lines += [f"| {title} | {' | '.join(COLUMNS)} |", f"|---{'|---' * len(COLUMNS)}|"]
        for name in names:
            found = (rows.get(f"{name} {column}") for column in COLUMNS)
            lines.append(f"| {name} | {' | '.join('' if each is None else cell(each) for each in found)} |")
        lines.append("")
    return "\n".join(lines)


def _arguments() -> argparse.Namespace:
    top = argparse.ArgumentParser(prog="python -m tests.benchmarks.engine", description=__doc__)
    add = top.add_argument
    add("models", nargs="*", default=[*ARCHITECTURES, *DETECTORS], help="names of test models (%(default)s)")
    add("--file", type=Path, help="a model of your own, in place of the test models")
    add("--calibration", type=Path, help="its calibration data")
    add("--evaluation", type=Path, help="its evaluation data")
    add("--layers", type=int, choices=[2], help="two layers of each test model (all)")
    add("--peers", type=Path, metavar="PYTHON", help="interpreter with nvidia-modelopt[onnx], for AutoCast's rows")
    add("--device", choices=devices(), default=DEFAULT_DEVICE, help="to estimate times on (%(default)s)")
    add("--folder", type=Path, default=Path(".autocast/engine"), help="for models and results (%(default)s)")
    add("--columns", nargs="+", choices=COLUMNS, default=list(COLUMNS), help="to make (all)")
    add("--fresh", action="store_true", help="make these rows again where the results have them")
    return top.parse_args()


def _models(arguments: argparse.Namespace, folder: Path) -> Iterable[tuple[str, Callable[[], BuiltModel]]]:
    """Names, and how to have each model, which is written when it is first needed."""
    if arguments.file:
        own = BuiltModel(arguments.file.stem, arguments.file, arguments.calibration, arguments.evaluation)
        yield own.name, lambda: own
        return
    for name in arguments.models:
        place = folder / f"{name}{arguments.layers or ''}"
        files = [place / file for file in ("model.onnx", "calibration.npz", "evaluation.npz")]

        def make(name: str = name, place: Path = place, files: list[Path] = files) -> BuiltModel:
            known = all(each.exists() for each in files)
            return BuiltModel(name, *files) if known else build(name, place, layers=arguments.layers)

        yield name, make


def _row(built: BuiltModel, column: str, peers: Peers | None, device: str) -> EngineRow:
    candidate = built.path if column == FP32 else built.path.with_name("converted.onnx")
    try:
        if column in OPTIONS:
            config = ConversionConfig(**OPTIONS[column])  # type: ignore[arg-type]
            convert_file(built.path, candidate, config, calibration=built.calibration)
        elif column == AUTOCAST and peers is not None:
            _run(peers.autocast(built.path, built.calibration, candidate))
        return _engine(built, candidate, device, judged=column != FP32)
    except Exception as error:
        return EngineRow(problem=f"{type(error).__name__}: {error}")
    finally:
        if candidate != built.path:
            for file in candidate.parent.glob(f"{candidate.name}*"):
                file.unlink()


def _run(command: list[str | Path]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().rpartition("\n")[2])


def _engine(built: BuiltModel, candidate: Path, device: str, *, judged: bool) -> EngineRow:
    model = load_model(candidate)
    options = engine_options(model, ConversionConfig(), open_batches(built.calibration, input_specs(model)))
    found = validate_model(candidate, None, options, model=model).estimated_on(devices()[device])
    view = found.engine_view
    if view is None:
        return EngineRow(problem="; ".join((*(each.words for each in found.findings), *found.skipped)))
    times = found.metrics()
    return EngineRow(
        kernels=len(view.kernels),
        moving=len(view.moving),
        fused=view.attention_fused,
        found=view.attention_found,
        traffic_bytes=view.traffic_bytes,
        cast_bytes=view.cast_bytes,
        estimated_ms=times.get(f"engine/estimated_ms/{device}"),
        sqnr_db=judge(built.path, candidate, built.evaluation).get("sqnr_db") if judged else None,
        build_s=found.seconds["build"],
    )


if __name__ == "__main__":
    sys.exit(main())
