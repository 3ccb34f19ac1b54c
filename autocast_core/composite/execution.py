"""Runs a composite model on one batch: stage after stage, each fed with what those before it gave."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from autocast_core.composite.declaration import DATA, Origin
from autocast_core.composite.greedy_decoding import Generated, generate
from autocast_core.composite.wiring import WiredStage, Wiring
from autocast_core.errors import AutocastError, BackendError, DataError
from autocast_core.runtime import Session

Sessions = Mapping[str, Session]
"""An open model for each stage, by the stage's name."""


@dataclass(frozen=True)
class Ran:
    """What one batch gave: every output of every stage, and what the stages that generate chose."""

    values: Mapping[Origin, Any]
    generated: Mapping[str, Generated] = field(default_factory=dict)

    def outputs(self, wanted: tuple[Origin, ...]) -> list[Any]:
        """The values of `wanted`, in its order."""
        return [self.values[origin] for origin in wanted]


def run_composite(
    wiring: Wiring, sessions: Sessions, arrays: Mapping[str, np.ndarray], reference: Ran | None = None
) -> Ran:
    """What the stages give for the data's `arrays`.

    With a `reference`, logits of stages that generate are those behind the reference's tokens, so that they can be
    compared; their tokens are those that the model chooses by itself, and later stages get these.
    BackendError and DataError name the stage.
    """
    values: dict[Origin, Any] = {Origin(DATA, name): array for name, array in arrays.items()}
    generated: dict[str, Generated] = {}
    for wired in wiring.stages:
        fed = {name: values[origin] for name, origin in wired.inputs.items()}
        try:
            if wired.stage.generate is None:
                session = sessions[wired.name]
                found = dict(zip(session.output_names, session.run(fed), strict=True))
            else:
                forced = reference.generated[wired.name] if reference is not None else None
                made = _generated(wired, sessions[wired.name], fed, values, forced)
                generated[wired.name] = made
                found = made.values(wired.stage.generate.logits)
        except AutocastError as error:
            kind = DataError if isinstance(error, DataError) else BackendError
            text = str(error)
            raise kind(text if text.startswith("stage ") else f"stage {wired.name!r}: {text}") from error
        values |= {Origin(wired.name, name): value for name, value in found.items()}
    return Ran(values, generated)


def _generated(
    wired: WiredStage,
    session: Session,
    fed: Mapping[str, np.ndarray],
    values: Mapping[Origin, Any],
    forced: Generated | None,
) -> Generated:
    """What the stage chooses by itself; with `forced`, the logits behind those tokens."""
    assert wired.stage.generate is not None
    prefill = wired.stage.generate.prefill
    prompt = None if prefill is None else {o.name: value for o, value in values.items() if o.stage == prefill}
    if forced is None:
        return generate(wired, session, fed, prompt)
    led = generate(wired, session, fed, prompt, forced)
    if np.array_equal(led.choices, forced.chosen):
        return led  # left to itself it would have chosen, and so been fed, the same
    free = generate(wired, session, fed, prompt)
    return Generated(free.tokens, free.lengths, led.logits)
