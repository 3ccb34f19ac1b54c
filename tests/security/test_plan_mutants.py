"""Structural mutants of a plan: refused in one line, or applied with a valid model; nothing else happens.

Seeded: 100 with every run of the sample, 1,000 with --nightly.
"""

from collections import Counter

import pytest

from autocast_core.errors import AutocastError
from tasks.isolation import ProcessLimits, isolated, isolation
from tests.security import plan_mutants

pytestmark = [pytest.mark.security, pytest.mark.xdist_group("fuzzing"), pytest.mark.timeout(900)]
SAMPLE, NIGHTLY = 100, 1000


def test_mutants_of_a_plan_are_refused_or_applied(nightly, trial):
    counts: Counter[str] = Counter()
    bad = []
    number = NIGHTLY if nightly else SAMPLE
    with isolation(ProcessLimits(memory_bytes=2 << 30, stage_seconds=30.0, file_bytes=64 << 20)):
        text = isolated(plan_mutants.plan_text, str)()
        call = isolated(plan_mutants.outcome, str)
        assert call(text) == "applied"
        for index, mutant in enumerate(plan_mutants.mutants(text, number, seed=19)):
            try:
                counts[call(mutant)] += 1
            except AutocastError as error:
                bad.append(f"mutant {index}: {error} {mutant if len(bad) < 3 else ''}")
    trial("mutants of a plan", number, ", ".join(f"{times} {kind}" for kind, times in sorted(counts.items())))
    assert not bad, "\n".join(bad)
    assert min(counts["refused"], counts["applied"]) >= number // 20
