"""The GPU checks without pytest: one JSON line each, exit code 1 where one failed.

    python -m tests.gpu [--layers 2] [--only TEXT] [--out FILE]

for example `--only estimates --out tests/gpu/results/DEVICE.jsonl`,

from the root of a checkout, with any Python that has numpy, onnx, onnx-ir, onnxruntime and TensorRT (or TensorRT for
RTX); torch brings the CUDA libraries of ONNX Runtime's CUDA provider.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.gpu import checks, estimates


def _all(layers: int | None) -> dict[str, Callable[[Path], checks.Facts]]:
    found = dict(checks.CHECKS)
    for backend, measure in (("tensorrt", checks.benchmark), ("onnxruntime", checks.benchmark_onnxruntime)):
        for name in checks.BENCHMARKED:
            for precision in ("fp16", "bf16"):
                found[f"benchmark {backend} {name} {precision}"] = partial(
                    measure, name=name, precision=precision, layers=layers
                )
    found["estimates"] = partial(estimates.estimates_rank_engines_as_their_times_do, layers=layers)
    return found


def _line(name: str, check: Callable[[Path], checks.Facts]) -> dict[str, object]:
    try:
        checks.require_gpu()
        with tempfile.TemporaryDirectory(prefix="autocast-gpu-") as folder:
            return {"check": name, "result": "passed", **check(Path(folder))}
    except checks.Skipped as reason:
        return {"check": name, "result": "skipped", "reason": str(reason)}
    except Exception as error:
        traceback.print_exc()
        return {"check": name, "result": "failed", "reason": f"{type(error).__name__}: {error}"}


def main() -> int:
    arguments = argparse.ArgumentParser(prog="python -m tests.gpu")
    arguments.add_argument("--layers", type=int, choices=[2], help="two layers of each model instead of all")
    arguments.add_argument("--only", default="", help="checks whose name holds this text")
    arguments.add_argument("--out", type=Path, help="file to write the lines to as well")
    given = arguments.parse_args()
    lines = []
    for name, check in _all(given.layers).items():
        if given.only in name:
            lines.append(_line(name, check))
            print(json.dumps(lines[-1], default=str), flush=True)
    if given.out:
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text("".join(json.dumps(line, default=str) + "\n" for line in lines), encoding="utf-8")
    return int(any(line["result"] == "failed" for line in lines))


if __name__ == "__main__":
    sys.exit(main())
