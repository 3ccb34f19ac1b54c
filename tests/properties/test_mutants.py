"""Structural mutants of small models: each is converted, or refused as the user's error; nothing else happens.

Seeded: 1,000 with every run of the suite, 10,000 with --nightly; the counts are in the table at the end of the run.
"""

from collections import Counter

import pytest

from autocast_core.errors import AutocastError
from tasks.isolation import ProcessLimits, isolated, isolation
from tests.properties import mutants

SEED, SAMPLE, NIGHTLY, PARTS = 18, 1000, 10_000, 4
GOOD = {"converted", "converted, does not run", "refused", "beyond the limit of memory"}


@pytest.mark.timeout(900)
@pytest.mark.parametrize("part", range(PARTS))
def test_no_mutant_ends_in_a_traceback_a_crash_a_hang_or_a_report(nightly, trial, part):
    number = (NIGHTLY if nightly else SAMPLE) // PARTS
    counts: Counter[str] = Counter()
    bad = []
    with isolation(ProcessLimits(memory_bytes=2 << 30, stage_seconds=30.0, file_bytes=64 << 20)):
        call = isolated(mutants.outcome, str)
        for index, mutant in enumerate(mutants.mutants(number, SEED + part)):
            try:
                found = call(mutant)
            except AutocastError as error:  # the process died, or its time was over
                asks_for_much = "needs more than the allowed" in str(error)  # as 25 dimensions of 2 do
                found = "beyond the limit of memory" if asks_for_much else f"died: {error}"
            counts[found.partition(":")[0]] += 1
            if found not in GOOD:
                bad.append(f"mutant {index}: {found[:500]}")
    listed = ", ".join(f"{times} {kind}" for kind, times in sorted(counts.items()))
    trial(f"mutants of small models, part {part + 1}", number, listed)
    assert not bad, "\n".join(bad)
    assert counts["converted"] >= number // 10


def test_a_seed_gives_the_same_mutants():
    assert mutants.mutants(5, 1) == mutants.mutants(5, 1) != mutants.mutants(5, 2)


def test_the_models_that_mutants_are_made_of_are_converted():
    assert [mutants.outcome(seed) for seed in mutants.seeds()] == ["converted"] * 9
