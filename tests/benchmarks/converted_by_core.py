"""`python -m tests.benchmarks.converted_by_core MODEL CALIBRATION EVALUATION OUTPUT`: what `autocast run` does with the
model itself (convert, evaluate, explain), by the core alone."""

from __future__ import annotations

import sys
from pathlib import Path

from autocast_core.process.lazy_imports import postpone_symbolic_shapes


def main() -> None:
    """Converts as a flow does by default, in this process, and writes the model."""
    # As the core's command: before onnxruntime is imported.
    postpone_symbolic_shapes()
    from autocast_core.config import ConversionConfig
    from autocast_core.pipeline.convert import convert_in_memory, write_converted
    from autocast_core.pipeline.job import Job
    from autocast_core.pipeline.stage import in_this_process, run_stages
    from autocast_core.pipeline.stages.explain import EXPLAIN
    from autocast_core.process.garbage_collector import collector_paused

    model, calibration, evaluation, output = map(Path, sys.argv[1:])
    job = Job(model, ConversionConfig(decide="measured"), calibration, evaluation=evaluation)
    with collector_paused():
        made = run_stages((EXPLAIN,), in_this_process(job), convert_in_memory(job))
        write_converted(job, made, output)


if __name__ == "__main__":
    main()
