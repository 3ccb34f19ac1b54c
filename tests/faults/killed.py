"""`python killed.py POINT MODEL DATA OUTPUT ISOLATION`: runs convert-model and kills this process at POINT.

POINT is ``begin STAGE``, ``end STAGE``, ``call FUNCTION`` of the flow's module, ``rename N``: the N-th file that gets
its final name; ``stop STAGE``: this process stops there until it is told to go on (SIGCONT); or ``never``.
"""

import os
import signal
import sys
from contextlib import contextmanager
from pathlib import Path


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def plant(point: str) -> None:
    """Lets this process die at `point`."""
    kind, _, where = point.partition(" ")
    if kind == "rename":
        left, replace = [int(where)], Path.replace

        def counted(self, target):
            left[0] -= 1
            if left[0] == 0:
                die()
            return replace(self, target)

        Path.replace = counted
        return
    import flows.conversion.tracked_run as begun
    import flows.convert_model as flow

    if kind == "call":
        setattr(flow, where, lambda *_, **__: die())
        return
    stage = flow.stage

    @contextmanager
    def dying(name, timings=None):
        if point == f"begin {name}":
            die()
        if point == f"stop {name}":
            os.kill(os.getpid(), signal.SIGSTOP)
        with stage(name, timings):
            yield
        if point == f"end {name}":
            die()

    flow.stage = begun.stage = dying


def main() -> None:
    point, model, data, output, isolation = sys.argv[1:]
    from flows.local.environment import set_defaults
    from flows.local.home import home

    set_defaults(home())
    from flows.convert_model import convert_model
    from flows.request.spec import Spec

    if point != "never":
        plant(point)
    convert_model(model, Spec(calibration=data, output=output, validation="off", isolation=isolation))


if __name__ == "__main__":
    main()
