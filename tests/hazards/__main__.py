"""`python -m tests.hazards`: what every net keeps and loses with thresholds, measured, and in NVIDIA's AutoCast."""

from __future__ import annotations

import argparse
import logging
import tempfile
from pathlib import Path

from autocast_core import Precision
from tests.hazards.hazard import Hazard
from tests.hazards.judged import all_lowered, judge_file, judged
from tests.hazards.nets import KINDS
from tests.hazards.peer_conversions import autocast_conversions, fp32_nodes
from tests.hazards.verdicts import Verdict, shown, totals

_WAYS = ("thresholds", "measured")


def main() -> None:
    """Print a row for each net as it is done, and totals."""
    arguments = _arguments()
    logging.disable(logging.WARNING)
    nets = {
        name: (kind, hazard)
        for kind, found in KINDS.items()
        for name, hazard in found.items()
        if not arguments.nets or any(part in name for part in arguments.nets)
    }
    for precision in map(Precision, arguments.types):
        peer = _peer({name: each for name, (_, each) in nets.items()}, precision, arguments.peers)
        print(f"| {precision} | all low | {' | '.join(('AutoCast', *_WAYS))} | gates (measured) |")
        print("|---|---|---|---|---|---|")
        verdicts: dict[str, list[Verdict]] = {way: [] for way in ("AutoCast", *_WAYS)}
        for name, (_, hazard) in nets.items():
            low = all_lowered(hazard, precision)
            row = {"AutoCast": peer[name], **{way: _ours(hazard, precision, way) for way in _WAYS}}
            for way, verdict in row.items():
                verdicts[way].append(verdict)
            cells = " | ".join(verdict.cell(precision.value) for verdict in row.values())
            look_alike = " (harmless)" if hazard.harmless else ""
            print(f"| {name}{look_alike} | {shown(low)} | {cells} | {row['measured'].gates} |", flush=True)
        print("\n".join(totals(verdicts, precision.value)))


def _arguments() -> argparse.Namespace:
    top = argparse.ArgumentParser(prog="python -m tests.hazards", description=__doc__)
    top.add_argument("nets", nargs="*", help="parts of names of nets (all)")
    top.add_argument("--types", nargs="+", choices=("fp16", "bf16"), default=["fp16", "bf16"], help="%(default)s")
    top.add_argument("--peers", type=Path, help="the peers' virtual environment, made where missing (without AutoCast)")
    return top.parse_args()


def _peer(hazards: dict[str, Hazard], precision: Precision, environment: Path | None) -> dict[str, Verdict]:
    if environment is None:
        return {name: Verdict(hazard.harmless, None) for name, hazard in hazards.items()}
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        models = autocast_conversions(hazards, precision, Path(folder), environment.absolute())
    for name, model in models.items():
        harmless = hazards[name].harmless
        if isinstance(model, str):
            found[name] = Verdict(harmless, None, gates=model)
            continue
        try:
            found[name] = Verdict(harmless, judge_file(hazards[name], model), kept=fp32_nodes(model))
        except Exception as error:
            found[name] = Verdict(harmless, None, gates=f"{type(error).__name__}: {error}")
    return found


def _ours(hazard: Hazard, precision: Precision, way: str) -> Verdict:
    found = judged(hazard, precision, decide=way)
    return Verdict(
        hazard.harmless,
        found.oracle,
        len(found.planned.kept),
        len(found.planned.needless()),
        "passed" if found.passed else f"missed: {_short(found.missed)}",
        found.passed,
    )


def _short(missed: str) -> str:
    """The first missed gate, and the node that is to blame."""
    reasons = missed.replace("|", "/").split("; ")
    return "; ".join(dict.fromkeys([reasons[0], *(each for each in reasons if "of the error comes from" in each)][:2]))


if __name__ == "__main__":
    main()
