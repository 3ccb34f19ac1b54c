"""Runs the checks side by side, each for a limited time."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from autocast_core.text import one_line
from flows.doctor.check_result import HealthCheck, Results, Surroundings, problem, warning

LIMIT_SECONDS = 15.0


def examine(around: Surroundings, checks: Sequence[HealthCheck], limit_seconds: float = LIMIT_SECONDS) -> Results:
    """What all checks find, in their order. One that takes longer than the limit is left behind, and said to be."""
    found: dict[int, Results] = {}

    def run(number: int, check: HealthCheck) -> None:
        try:
            found[number] = check(around)
        except Exception as error:
            what = f"could not be checked ({type(error).__name__}: {one_line(error, 200)})"
            found[number] = (warning(_title(check), what, "report it: this is a bug in AutoCast Flow"),)

    # Daemons: a name server or a server that never ends its answer does not hold up the command's end.
    threads = [threading.Thread(target=run, args=each, daemon=True) for each in enumerate(checks)]
    deadline = time.monotonic() + limit_seconds
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    late = f"took longer than {limit_seconds:g} s"
    remedy = "check the network and what the settings name"
    return tuple(
        result
        for number, check in enumerate(checks)
        for result in found.get(number, (problem(_title(check), late, remedy),))
    )


def _title(check: HealthCheck) -> str:
    return getattr(check, "__name__", "check").replace("_", " ")
