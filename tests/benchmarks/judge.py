"""What a converted model is worth, as JSON on standard output. Run as a process: REFERENCE CANDIDATE EVALUATION."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def judge(reference: Path, candidate: Path, evaluation: Path) -> dict[str, Any]:
    """Bytes, Casts and, in simulation, the fidelity to the reference; `fidelity` says why where there is none."""
    from autocast_core.backends.onnxruntime.session import OnnxRuntime
    from autocast_core.data import input_specs, open_batches, table_sizes
    from autocast_core.errors import AutocastError
    from autocast_core.evaluate import compare
    from autocast_core.model import load_model, model_files
    from autocast_core.simulate import simulate

    found: dict[str, Any] = {"bytes": sum(file.stat().st_size for file in model_files(candidate))}
    try:
        before, after = load_model(reference), load_model(candidate)
        found["casts"] = sum(node.op_type == "Cast" for graph in after.graphs() for node in graph)
        batches = open_batches(str(evaluation), input_specs(before), table_sizes=table_sizes(before))
        runtime = OnnxRuntime()
        worst = compare(runtime.open(before), runtime.open(simulate(after), few_runs=True), batches).worst
        found.update(rel_l2=worst.rel_l2, sqnr_db=worst.sqnr_db, new_nonfinite=worst.new_nonfinite)
    except AutocastError as error:
        found["fidelity"] = str(error)
    return found


if __name__ == "__main__":
    json.dump(judge(*map(Path, sys.argv[1:4])), sys.stdout)
