"""Which judges are asked for: by options, by gates and budgets, or by outputs that can be nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autocast_core.errors import ConfigError
from autocast_core.evaluate.judges.judge import Judge, JudgeOption, one_of
from autocast_core.evaluate.judges.registry import JUDGES, judge_named

_LABELS = JudgeOption("labels", "on, or off where the data's labels are for something else", one_of("on", "off"), "on")


@dataclass(frozen=True)
class AskedJudge:
    """A judge with its options; `is_asked` is false where only the outputs' names speak for it."""

    judge: Judge
    options: Mapping[str, Any]
    is_asked: bool = True

    @property
    def takes_labels(self) -> bool:
        """Whether the data's labels are the judge's."""
        return bool(self.options[_LABELS.name] == "on")


def parse_judge(text: str) -> AskedJudge:
    """What ``NAME`` or ``NAME:OPTION=VALUE,OPTION=VALUE`` says, as in ``boxes:layout=yolov8,score=0.4``.

    ConfigError for an unknown judge or option and for a value that it does not take; says which there are.
    """
    name, _, rest = text.strip().partition(":")
    judge = judge_named(name.strip())
    known = {option.name: option for option in (*judge.options, _LABELS)}
    values = {option.name: option.default for option in known.values()}
    for part in filter(None, (each.strip() for each in rest.split(","))):
        key, separator, value = (each.strip() for each in part.partition("="))
        if key not in known or not separator:
            raise ConfigError(
                f"judge {text!r}: {part!r} is not one of its options; give OPTION=VALUE with {', '.join(known)}"
            )
        try:
            values[key] = known[key].read(value)
        except ValueError as error:
            raise ConfigError(f"judge {text!r}: {key}={value}: {error}") from error
    return AskedJudge(judge, values)


def asked_judges(
    texts: Sequence[str], gates: Iterable[str | None] = (), outputs: Iterable[str] = ()
) -> tuple[AskedJudge, ...]:
    """The judges that `texts` say, with their options; those that `gates`, names of judges, speak of; and those that
    the names of the model's `outputs` leave no doubt about. Each judge once.

    ConfigError as `parse_judge`, and where one is said twice.
    """
    found: dict[str, AskedJudge] = {}
    for text in texts:
        asked = parse_judge(text)
        if asked.judge.name in found:
            raise ConfigError(f"judge {asked.judge.name} is given twice: give it once, with all of its options")
        found[asked.judge.name] = asked
    for name in gates:
        if name is not None and name not in found:
            found[name] = parse_judge(name)
    names = tuple(outputs)
    for name, judge in JUDGES.items():
        if name not in found and judge.is_sure(names):
            found[name] = AskedJudge(judge, parse_judge(name).options, is_asked=False)
    return tuple(found.values())
