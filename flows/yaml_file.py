"""Reads a YAML file of options, remembering on which line each key stands, so that errors can say it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autocast_core.errors import ConfigError

KeyPath = tuple[str | int, ...]


def read_yaml(path: str | Path) -> tuple[dict[str, Any], Mapping[KeyPath, int]]:
    """The mapping in the file at `path`, and the 1-based line of every key and list item by its path.

    ConfigError where the file is missing, no UTF-8 text, no YAML, or holds something other than a mapping.
    """
    import yaml

    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot read the file: {error}") from error
    try:
        values = yaml.safe_load(text)
        lines: dict[KeyPath, int] = {}
        _note_lines(yaml.compose(text, Loader=yaml.SafeLoader), (), lines)
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"{path}: is no YAML: {' '.join(str(error).split())}") from error
    if values is None:
        values = {}
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: holds a {type(values).__name__}: give one `option: value` a line")
    return values, lines


def _note_lines(node: Any, path: KeyPath, lines: dict[KeyPath, int]) -> None:
    import yaml

    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            lines[(*path, key.value)] = key.start_mark.line + 1
            _note_lines(value, (*path, key.value), lines)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            lines[(*path, index)] = value.start_mark.line + 1
            _note_lines(value, (*path, index), lines)
