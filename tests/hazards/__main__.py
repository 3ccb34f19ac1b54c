"""`python -m tests.hazards`: each hazard, what the simulation and the oracle measure, and what the gates say."""

from autocast_core import Precision
from tests.hazards.judged import judged
from tests.hazards.nets import HAZARDS

for name, hazard in HAZARDS.items():
    for precision in (Precision.FP16, Precision.BF16):
        found = judged(hazard, precision)
        counts = found.plan.counts()
        print(
            f"{name:36} {precision} kept {counts.fp32}/{counts.fp32 + counts.low_precision}"
            f" simulation {found.simulated:7.1f} dB, oracle {found.oracle:7.1f} dB:"
            f" {'passed' if found.passed else 'MISSED ' + found.missed}"
        )
