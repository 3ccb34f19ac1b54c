"""The judges that there are, in the order of the documentation, and the table of their metrics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from autocast_core.errors import ConfigError
from autocast_core.evaluate.judges.boxes import BOXES
from autocast_core.evaluate.judges.depth import DEPTH
from autocast_core.evaluate.judges.embeddings import EMBEDDINGS
from autocast_core.evaluate.judges.judge import Judge, JudgeMetric
from autocast_core.evaluate.judges.masks import MASKS
from autocast_core.evaluate.judges.ranking import RANKING
from autocast_core.evaluate.judges.speech import SPEECH
from autocast_core.evaluate.judges.tokens import TOKENS
from autocast_core.evaluate.metric_names import TASK

JUDGES: Mapping[str, Judge] = MappingProxyType(
    {judge.name: judge for judge in (BOXES, MASKS, TOKENS, EMBEDDINGS, RANKING, DEPTH, SPEECH)}
)
"""The judges by name."""


def judge_named(name: str) -> Judge:
    """The judge of that name. ConfigError, with all names, without one."""
    if name not in JUDGES:
        raise ConfigError(f"unknown judge {name!r}; known are {', '.join(JUDGES)}")
    return JUDGES[name]


def logged_metric(name: str) -> tuple[Judge, JudgeMetric] | None:
    """The judge and the metric of ``task/JUDGE/METRIC``; None for other names, and for the worst batch's."""
    first, _, rest = name.partition("/")
    judge, _, metric = rest.partition("/")
    found = JUDGES[judge].metric(metric) if first == TASK and judge in JUDGES else None
    return None if found is None else (JUDGES[judge], found)


def judges_table() -> str:
    """What each judge reads, and its metrics and options, as Markdown."""
    return "\n".join(line for judge in JUDGES.values() for line in _section(judge))


def _section(judge: Judge) -> Iterator[str]:
    yield f"### {judge.name}\n"
    reads = judge.reads.split("; ")
    yield "Reads:\n"
    yield from (f"- {form}" for form in reads)
    yield f"\n`labels`: {judge.labels}.\n"
    yield "| Metric | Better | Labels | Meaning | Source |"
    yield "| --- | --- | --- | --- | --- |"
    for metric in judge.metrics:
        better = "higher" if metric.higher_is_better else "lower"
        batch = f"; also `{judge.name}.worst_batch.{metric.name}`" if metric.by_batch else ""
        labels = "needs" if metric.with_labels else ""
        meaning = metric.meaning.replace("|", "\\|")
        yield f"| `{judge.name}.{metric.name}` | {better} | {labels} | {meaning}{batch} | {metric.source} |"
    yield "\n| Option | Default | Meaning |"
    yield "| --- | --- | --- |"
    for option in judge.options:
        default = "" if option.default is None else f"`{option.default}`"
        yield f"| `{option.name}` | {default} | {option.meaning} |"
    yield ""
