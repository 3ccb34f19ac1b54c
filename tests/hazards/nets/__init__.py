"""All nets by name, from one file for each kind of hazard."""

from __future__ import annotations

from collections.abc import Mapping

from tests.hazards.hazard import Hazard
from tests.hazards.nets.attention import ATTENTION
from tests.hazards.nets.cancellation import CANCELLATION
from tests.hazards.nets.discrete_choices import DISCRETE_CHOICES
from tests.hazards.nets.exact_numbers import EXACT_NUMBERS
from tests.hazards.nets.large_values import LARGE_VALUES
from tests.hazards.nets.normalisations import NORMALISATIONS
from tests.hazards.nets.probabilities import PROBABILITIES
from tests.hazards.nets.recurrences import RECURRENCES
from tests.hazards.nets.signals import SIGNALS
from tests.hazards.nets.tiny_values import TINY_VALUES
from tests.hazards.nets.vanishing_guards import GUARDS

KINDS: Mapping[str, Mapping[str, Hazard]] = {
    "cancellation": CANCELLATION,
    "guards": GUARDS,
    "exact numbers": EXACT_NUMBERS,
    "attention": ATTENTION,
    "large values": LARGE_VALUES,
    "tiny values": TINY_VALUES,
    "probabilities": PROBABILITIES,
    "choices": DISCRETE_CHOICES,
    "normalisation": NORMALISATIONS,
    "recurrence": RECURRENCES,
    "signals": SIGNALS,
}
HAZARDS: Mapping[str, Hazard] = {name: each for kind in KINDS.values() for name, each in kind.items()}
