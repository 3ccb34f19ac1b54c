"""Reads a YAML file of options, remembering on which line each key stands, so that errors can say it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autocast_core.errors import ConfigError
from autocast_core.text import one_line

KeyPath = tuple[str | int, ...]
MOST_BYTES = 1 << 20
MOST_VALUES = 100_000
"""With aliases written out: a few lines of them can stand for more values than there is memory."""


def read_yaml(path: str | Path) -> tuple[dict[str, Any], Mapping[KeyPath, int]]:
    """The mapping in the file at `path`, and the 1-based line of every key and list item by its path.

    ConfigError where the file is missing, not UTF-8, not YAML, too large, or holds something other than a mapping.
    """
    import yaml

    text = _text(path)
    lines: dict[KeyPath, int] = {}
    values: Any = None
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        count = _values(root, {})
        if count <= MOST_VALUES:
            values = yaml.safe_load(text)
            _note_lines(root, (), lines)
    except (yaml.YAMLError, RecursionError, ValueError, OverflowError) as error:  # numbers and dates that are none
        raise ConfigError(f"{path}: is not valid YAML: {one_line(error, 300)}") from error
    if count > MOST_VALUES:
        raise ConfigError(f"{path}: stands for more than {MOST_VALUES} values; write fewer aliases")
    if values is None:
        values = {}
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: holds a {type(values).__name__}: give one `option: value` a line")
    return values, lines


def _text(path: str | Path) -> str:
    try:
        with open(path, "rb") as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise ConfigError(f"{path}: is larger than {MOST_BYTES} bytes: give a file of options")
        return content.decode("utf-8")
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file: give the path of a YAML file") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text: give the path of a YAML file") from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}: give the path of a YAML file") from error


_PLAIN_WORDS = (
    ("a valid tuple", "a list"),
    ("a valid list", "a list"),
    ("a valid dictionary", "a mapping"),
    ("a valid boolean", "true or false"),
    ("a valid integer", "an integer"),
    ("a valid ", "a "),
)


def said_plainly(message: str) -> str:
    """What pydantic says of a value, in the words of YAML: lists and mappings, not tuples and dictionaries."""
    message = message.removeprefix("Value error, ").partition(", unable to ")[0]
    for theirs, ours in _PLAIN_WORDS:
        message = message.replace(theirs, ours)
    return f"{message[:1].lower()}{message[1:]}"


def _values(node: Any, known: dict[int, int]) -> int:
    """How many values the node stands for, each alias counted as what it repeats. RecursionError for endless ones."""
    if id(node) not in known:
        children = (child for pair in node.value for child in pair) if node and node.id == "mapping" else ()
        if node and node.id == "sequence":
            children = iter(node.value)
        known[id(node)] = 1 + sum(_values(child, known) for child in children)
    return known[id(node)]


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
