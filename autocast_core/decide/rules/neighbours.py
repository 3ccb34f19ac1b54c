"""Let nodes that only cost where their precision differs follow their neighbours; see `decide.follow_neighbours`.

- Runs by measurement alone, once the other rules have decided every node.
- Changes no node that a user, a schema or a rule of the caller's decides.
"""

from __future__ import annotations

from autocast_core.decide.rule import Outcome, Override, RuleEntry

NEIGHBOURS = RuleEntry(
    name="neighbours",
    title="neighbours",
    description="By measurement: the node moves elements between nodes of one precision, or computes alone, without "
    "weights, between FP32 nodes.",
    outcome=Outcome.EITHER,
    overridden_by=frozenset({Override.SEARCH, Override.NEW_WEIGHTS}),
)
