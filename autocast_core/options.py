"""What is said of an option of the converter, once: on its field of `config.ConversionConfig`.

The command line, the spec, the checks of bounds and the table in the docs are made from these declarations.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from numbers import Integral, Real
from os import PathLike
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

from autocast_core.errors import ConfigError

_Value = TypeVar("_Value")


class _Kind(NamedTuple):
    """Values of an annotation: what the docs and errors call one, and whether a value is one."""

    called: str
    holds: Callable[[Any], bool]


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _is_integer(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _is_bool(value: Any) -> bool:
    return isinstance(value, Hashable) and value in (True, False)


def _is_string(value: Any) -> bool:
    return isinstance(value, str | PathLike)


def _are_strings(value: Any) -> bool:
    return isinstance(value, Collection) and not isinstance(value, str | bytes) and all(map(_is_string, value))


def _is_shape(value: Any) -> bool:
    return isinstance(value, Collection) and all(map(_is_integer, value))


def _are_shapes(value: Any) -> bool:
    return isinstance(value, Collection) and all(map(_is_shape, value))


def _by_name(holds: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, Mapping) and all(map(_is_string, value)) and all(map(holds, value.values()))


_KINDS = MappingProxyType(
    {
        "bool": _Kind("true or false", _is_bool),
        "bool | tuple[str, ...]": _Kind("true, false or names", lambda value: _is_bool(value) or _are_strings(value)),
        "float": _Kind("a number", _is_number),
        "int": _Kind("an integer", _is_integer),
        "int | None": _Kind("an integer", _is_integer),
        "str": _Kind("a string", _is_string),
        "str | None": _Kind("a string", _is_string),
        "Precision": _Kind("a 16-bit type", _is_string),
        "Precision | None": _Kind("a 16-bit type", _is_string),
        "tuple[str, ...]": _Kind("a list of strings", _are_strings),
        "Mapping[str, tuple[int, ...]]": _Kind("a shape for each name", _by_name(_is_shape)),
        "Mapping[str, tuple[tuple[int, ...], ...]]": _Kind("three shapes for each name", _by_name(_are_shapes)),
        "Mapping[str, Mapping[str, Sequence[int]]]": _Kind(
            "`inp` and `out`, lists of indices, for each operator type", _by_name(_by_name(_is_shape))
        ),
        "Any": _Kind("an object", lambda _: True),
    }
)
"""By annotation."""


@dataclass(frozen=True)
class Option:
    """An option: its `name` and `type` (an annotation) in Python, its `default`, and what `declared` says of it.

    `help` is one sentence for the command line, the spec and the docs. `flags` are the command line's, empty where it
    lacks the option; `nargs` and `metavar` are argparse's. A value other than None is one of `choices`, where there are
    any, at least `at_least`, and greater than `above`. `autocast` names the parameter of AutoCast's
    ``convert_to_mixed_precision``, None where it has none. `python_only` options can be given in Python alone.
    `spec_default` is what a spec that does not give the option means, None where that is the `default`.
    """

    help: str
    flags: tuple[str, ...] = ()
    nargs: str | None = None
    metavar: str | None = None
    choices: tuple[str, ...] = ()
    at_least: int | None = None
    above: float | None = None
    autocast: str | None = None
    python_only: bool = False
    spec_default: Any = None
    name: str = ""
    type: str = ""
    default: Any = None

    @property
    def default_in_spec(self) -> Any:
        """The option's value in a spec that does not give it."""
        return self.default if self.spec_default is None else self.spec_default

    @property
    def destination(self) -> str:
        """The attribute that argparse gives the option's value."""
        return self.flags[0].lstrip("-")

    def check(self, value: Any) -> None:
        """ConfigError where `value` is of another kind or outside the bounds of the option, saying what to give."""
        if value is None and self.default is None:
            return
        if isinstance(value, str) and self.type.endswith("tuple[str, ...]"):
            strings(self.name, value)
        kind = _KINDS[self.type]
        if not kind.holds(value):
            raise ConfigError(f"{self.name} is {value!r}: give {kind.called}")
        if self.choices and value not in self.choices:
            raise ConfigError(f"{self.name} is {value}: give {_either(self.choices)}")
        unlimited = ", or inf for no limit" if self.type == "float" else ""
        if self.at_least is not None and not value >= self.at_least:
            raise ConfigError(f"{self.name} is {value}: give at least {self.at_least}{unlimited}")
        if self.above is not None and not value > self.above:
            raise ConfigError(f"{self.name} is {value}: give a number greater than {self.above:g}{unlimited}")


def strings(name: str, given: Sequence[str] | None) -> tuple[str, ...]:
    """`given`, the value of `name`, as a tuple, empty for None. ConfigError for a single string, which would be taken
    letter by letter, and for what holds no strings."""
    if isinstance(given, str):
        raise ConfigError(f"{name} is the string {given!r}: give a list: [{given!r}]")
    if given is not None and not _are_strings(given):
        raise ConfigError(f"{name} is {given!r}: give a list of strings")
    return tuple(given or ())


def _either(choices: tuple[str, ...]) -> str:
    *others, last = choices
    return f"{', '.join(others)} or {last}" if others else last


def option(default: _Value, help: str, **facts: Any) -> _Value:  # noqa: A002 - argparse's word
    """The field of a dataclass that is an option with this default; `facts` are fields of Option."""
    return field(default=default, metadata=declared(help, **facts))


def declared(help: str, **facts: Any) -> Mapping[str, Option]:  # noqa: A002 - argparse's word
    """The metadata of a dataclass field that is an option; `facts` are fields of Option."""
    return {"option": Option(help, **facts)}


def options_of(config: Any) -> Mapping[str, Option]:
    """The options that the dataclass `config` declares, by name, in its order."""
    return {
        each.name: replace(
            each.metadata["option"],
            name=each.name,
            type=str(each.type),
            default=each.default if each.default_factory is MISSING else each.default_factory(),
        )
        for each in fields(config)
    }


def check_profile(name: str, shapes: Sequence[Sequence[int]]) -> None:
    """ConfigError unless `shapes` are the smallest, the usual and the largest one of the input `name`."""
    same_rank = len(shapes) == 3 and len({len(shape) for shape in shapes}) == 1
    if not same_rank or not all(0 <= low <= usual <= high for low, usual, high in zip(*shapes, strict=True)):
        raise ConfigError(
            f"profile of {name!r}: give three shapes of one rank, none larger than the next: smallest, usual, largest"
        )


def check_operands(op_type: str, block: Mapping[str, Sequence[int]]) -> None:
    """ConfigError unless `block` has indices of operands, from 0 on, under ``inp`` and ``out`` alone."""
    unknown = sorted(set(block) - {"inp", "out"})
    if unknown or any(index < 0 for indices in block.values() for index in indices):
        wrong = f"{unknown[0]!r} is neither inp nor out" if unknown else "an index is negative"
        raise ConfigError(f"operands_to_exclude of {op_type}: {wrong}: give the indices of operands, from 0 on")


def options_table(options: Iterable[Option]) -> str:
    """The options as a Markdown table."""
    rows = [
        "| Option | Command line | Values | Default | AutoCast has it | Meaning |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for each in options:
        flags = ", ".join(f"`{flag}`" for flag in each.flags) or ("Python only" if each.python_only else "in a spec")
        cells = (
            f"`{each.name}`",
            flags,
            _values(each),
            _shown(each.default) + ("" if each.spec_default is None else f", in a spec {_shown(each.spec_default)}"),
            "yes" if each.autocast else "",
            each.help,
        )
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def _values(option: Option) -> str:
    if option.choices:
        return ", ".join(f"`{choice}`" for choice in option.choices)
    kind = _KINDS[option.type].called
    if option.at_least is not None:
        return f"{kind}, at least {option.at_least}"
    return kind if option.above is None else f"{kind}, greater than {option.above:g}"


def _shown(default: Any) -> str:
    if isinstance(default, bool):
        return "true" if default else "false"
    return "" if default is None or default == () or default == {} else f"`{default}`"
