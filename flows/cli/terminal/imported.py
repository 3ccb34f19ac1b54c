"""What `autocast plan import` does and prints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from autocast_core.text import how_many

KEYS = ("output", "options", "changed", "refused", "unmatched", "ignored", "summary")
_MOST = 1 << 24
_SUFFIXES = (".json", ".txt", ".yaml", ".yml", ".cfg")


def imported_within_limits(settings: str, subject: Path, output: Path | None) -> Mapping[str, Any]:
    """As `imported`, isolated where this machine's owner wants that."""
    from flows.request.policy import limits_of_a_command
    from tasks.isolation import isolated, isolation

    with isolation(limits_of_a_command()):
        return isolated(imported, dict[str, Any])(settings, subject, output)


def imported(settings: str, subject: Path, output: Path | None) -> dict[str, Any]:
    """The options or the edited plan, written to `output` where it is given. ConfigError for a plan without one."""
    from autocast_core.errors import ConfigError
    from autocast_core.model.atomic import check_inputs_stay, check_plain
    from autocast_core.pipeline.other_tools.import_settings import import_into_plan, import_options
    from autocast_core.plan import read_plan

    text, read = _text(settings)
    if output is not None:
        check_plain(output)
        check_inputs_stay((output,), (subject, *read))
    if subject.suffix != ".json":
        found = import_options(text, subject)
        _write(output, _yaml(found.options))
        return {**_reached(output, found.unmatched, found.ignored), "options": dict(found.options)}
    if output is None:
        raise ConfigError("--output is missing: give the file to write the edited plan to")
    edited = import_into_plan(text, read_plan(subject))
    _write(output, edited.plan.to_json())
    return {
        **_reached(output, edited.unmatched, edited.ignored),
        "changed": edited.changed,
        "refused": list(edited.refused),
        "summary": edited.plan.summary(),
    }


def lines(result: Mapping[str, Any]) -> Iterator[str]:
    """What the command prints: warnings, then the options or what became of the plan."""
    for kind, why in (
        ("unmatched", "names no node"),
        ("ignored", "is no choice of this converter: Q/DQ nodes say what has 8 bits"),
        ("refused", "keeps its precision: no other is legal for it"),
    ):
        yield from (f"warning: {entry!r} {why}" for entry in result.get(kind) or ())
    if result.get("summary") is not None:
        yield f"{how_many(result['changed'], 'node')} changed. {result['summary']}: {result['output']}"
    elif result["output"] is not None:
        yield f"wrote {result['output']}"
    else:
        yield from _yaml(result["options"]).splitlines()


def _reached(output: Path | None, unmatched: tuple[str, ...], ignored: tuple[str, ...]) -> dict[str, Any]:
    return {
        "output": None if output is None else str(output),
        "unmatched": list(unmatched),
        "ignored": list(ignored),
    }


def _text(settings: str) -> tuple[str, tuple[Path, ...]]:
    """The settings, and the file that they were read from where `settings` is its path. ConfigError where it cannot be
    read."""
    from autocast_core.errors import ConfigError

    path = Path(settings)
    if not _exists(path):
        if path.suffix in _SUFFIXES:
            raise ConfigError(f"{settings}: no such file: give a file of settings, or NAME:TYPE,NAME:TYPE")
        return settings, ()
    if not path.is_file():
        raise ConfigError(f"{settings}: is a folder, pipe or device: give a file of settings, or NAME:TYPE,NAME:TYPE")
    try:
        with path.open("rb") as file:
            content = file.read(_MOST + 1)
        text = content.decode("utf-8")
    except (ValueError, OSError) as error:
        raise ConfigError(f"{settings}: cannot be read: {error}: give a text file of settings") from error
    if len(content) > _MOST:
        raise ConfigError(f"{settings}: is larger than {_MOST >> 20} MiB: give a file of settings")
    return text, (path,)


def _exists(path: Path) -> bool:
    """False also for settings that are too long for the name of a file."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _yaml(options: Mapping[str, Any]) -> str:
    """The options as a spec file."""
    import yaml

    text: str = yaml.safe_dump(dict(options), sort_keys=False, width=100_000, allow_unicode=True)
    return text


def _write(output: Path | None, text: str) -> None:
    from autocast_core.model.atomic import write_whole

    if output is not None:
        write_whole(output, text.encode())
