"""`python -m tests.benchmarks.flow_stages FILE run …`: `autocast run …`, with the CPU seconds of its stages in FILE."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from pathlib import Path

import flows.convert_model as flow
from flows.cli import main as autocast


def main() -> None:
    """CPU seconds of the whole process (user and system), by stage; `start` is everything before the command."""
    file = Path(sys.argv.pop(1))
    spent = {"start": time.process_time()}
    stage = flow.stage

    @contextmanager
    def timed(name: str, timings: MutableMapping[str, float] | None = None) -> Iterator[None]:
        began = time.process_time()
        try:
            with stage(name, timings):
                yield
        finally:
            spent[name] = spent.get(name, 0.0) + time.process_time() - began

    flow.stage = timed
    try:
        autocast()
    finally:
        spent["in all"] = time.process_time()
        file.write_text(json.dumps({name: round(seconds, 3) for name, seconds in spent.items()}))


if __name__ == "__main__":
    main()
