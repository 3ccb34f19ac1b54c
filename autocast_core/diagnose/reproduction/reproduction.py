"""The reproduction of a diagnosis's first culprit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import onnx_ir as ir

from autocast_core.diagnose.matching.prepared import prepared
from autocast_core.diagnose.own_errors import reference_values
from autocast_core.diagnose.reproduction.fault import STILL_SHOWN, Fault, Shown
from autocast_core.diagnose.reproduction.shrinking import shrunk
from autocast_core.diagnose.reproduction.sub_models import Arrays, inputs_of, node_count, part_between, widened
from autocast_core.diagnose.result import Culprit, Diagnosis, Recorded
from autocast_core.diagnose.simulated_form import has_low_types
from autocast_core.errors import AutocastError, ModelError
from autocast_core.graph.names import values_by_name
from autocast_core.number_formats import LOW_DTYPES
from autocast_core.runtime import Runtime
from autocast_core.simulate import Accumulate, simulate

MOST_NODES = 12


@dataclass(frozen=True)
class Reproduction:
    """A culprit, the small models that show it, what they show, and whether the reference's part is the reference's own
    nodes or, with the same nodes, the candidate's in FP32 (`same_nodes`)."""

    culprit: Culprit
    fault: Fault
    shown: Shown
    same_nodes: bool
    rel_l2: float

    @property
    def title(self) -> str:
        """What is wrong and where, in a few words."""
        place = (self.culprit.candidate_nodes or (self.culprit.candidate_value,))[0]
        return f"{self.culprit.kind.value.capitalize()} at {place} ({self.culprit.op_type})"

    @property
    def is_simulated(self) -> bool:
        """Whether the candidate has 16-bit types, so that few CPUs execute it as it is."""
        return has_low_types(self.fault.candidate)


def reproduction(
    reference: ir.Model,
    candidate: ir.Model,
    diagnosis: Diagnosis,
    runtime: Runtime,
    accumulate: Accumulate = Accumulate.FP32,
) -> Reproduction:
    """The smallest sub-models around the first culprit of `diagnosis`, which is of these two models and was made with
    this accumulation, that show it.

    The candidate's part are its nodes between matched tensors, fed the reference's values of the worst batch; the
    reference's part its own nodes there, else the candidate's with FP32 in the place of 16 bits. Both have at most 12
    nodes. ModelError where there is no culprit, or no part of that size shows it alone.
    """
    if not diagnosis.culprits:
        raise ModelError("there is no culprit to reproduce: no output is beyond its tolerance, or no node stands out")
    culprit = diagnosis.culprits[0]
    place = (culprit.candidate_nodes or (culprit.candidate_value,))[0]
    if culprit.recorded is None:
        raise ModelError(f"{place}: no values were recorded there, so it cannot be reproduced alone")
    for fault, same_nodes in _faults(prepared(reference), prepared(candidate), diagnosis, culprit, runtime):
        try:
            small, shown = shrunk(replace(fault, accumulate=accumulate), runtime)
        except (AutocastError, ValueError):
            continue  # this part does not run by itself
        if _is_shown(shown, culprit):
            return Reproduction(culprit, small, shown, same_nodes, shown.distance.rel_l2)
    raise ModelError(f"{place}: no part of at most {MOST_NODES} nodes around it shows the fault alone")


def _is_shown(shown: Shown, culprit: Culprit) -> bool:
    """Whether at least half of the error that was measured at the culprit is there."""
    here, before = shown.distance, max(culprit.own, culprit.amplified)
    if here.new_infinite or here.new_nan:
        return True
    return here.rel_l2 > 0.0 and here.rel_l2 >= STILL_SHOWN * min(before, 1.0)


def _faults(
    reference: ir.Model, candidate: ir.Model, diagnosis: Diagnosis, culprit: Culprit, runtime: Runtime
) -> Iterator[tuple[Fault, bool]]:
    """What may show the culprit, the best first; with whether the reference's part has the candidate's nodes."""
    recorded = culprit.recorded
    assert recorded is not None
    part = _part(candidate, recorded, culprit.candidate_value)
    if part is None:
        return
    feeds = {str(value.name): recorded.inputs[str(value.name)] for value in part.graph.inputs}
    own = _reference_part(reference, diagnosis, culprit, runtime)
    if own is not None:
        yield Fault(part, feeds, *own), False
    if has_low_types(part):
        yield Fault(part, feeds, widened(part, LOW_DTYPES), feeds), True
    yield Fault(part, feeds, None, expected=recorded.expected), False


def _part(model: ir.Model, recorded: Recorded, output: str) -> ir.Model | None:
    """The candidate's part; None where it is larger than MOST_NODES or needs values that were not recorded."""
    try:
        part = part_between(model, recorded.inputs, output)
    except ValueError:
        return None
    return part if node_count(part) <= MOST_NODES else None


def _reference_part(
    reference: ir.Model, diagnosis: Diagnosis, culprit: Culprit, runtime: Runtime
) -> tuple[ir.Model, Arrays] | None:
    """The reference's part and what it is fed; None where it has none, or one of more than MOST_NODES."""
    inputs = inputs_of(reference, culprit.reference_nodes)
    if not inputs:
        return None
    try:
        part = part_between(reference, inputs, culprit.reference_value)
    except ValueError:
        return None
    if node_count(part) > MOST_NODES:
        return None
    values = values_by_name(reference.graph)
    wanted = [values[str(value.name)] for value in part.graph.inputs]
    found = reference_values(simulate(reference), wanted, diagnosis.batch, runtime)
    return part, dict(found.arrays)
