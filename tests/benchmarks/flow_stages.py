"""`python -m tests.benchmarks.flow_stages FILE run …`: `autocast run …`, with the CPU seconds of its stages in FILE."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from pathlib import Path

from tasks import progress

CHILDREN = "child processes"


def main() -> None:
    """CPU seconds (user and system) of this process by stage, and of its children, as TensorRT's."""
    file = Path(sys.argv.pop(1))
    spent: dict[str, float] = {}
    stage = progress.stage

    @contextmanager
    def timed(name: str, timings: MutableMapping[str, float] | None = None) -> Iterator[None]:
        began = time.process_time()
        try:
            with stage(name, timings):
                yield
        finally:
            spent[name] = spent.get(name, 0.0) + time.process_time() - began

    # The flow takes it from there when the command imports the flow.
    progress.stage = timed
    from flows.cli import main as autocast

    try:
        autocast()
    finally:
        times = os.times()
        spent[CHILDREN] = times.children_user + times.children_system
        file.write_text(json.dumps({name: round(seconds, 3) for name, seconds in spent.items()}))


if __name__ == "__main__":
    main()
