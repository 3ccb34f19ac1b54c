"""That what is made from the declarations of options agrees with them, and with AutoCast."""

import inspect
from dataclasses import dataclass, field

import pytest

from autocast_core import convert_to_mixed_precision
from autocast_core.__main__ import get_parser
from autocast_core.config import OPTIONS, ConversionConfig
from autocast_core.errors import ConfigError
from autocast_core.options import declared, options_of, options_table

NOT_OPTIONS = {"onnx_path", "calibration_data"}
"""Parameters of AutoCast that say what is converted, and with which data."""


@dataclass(frozen=True)
class Example:
    size: "int" = field(default=3, metadata=declared("How much.", flags=("--size", "-s"), at_least=2))
    kind: "str | None" = field(default=None, metadata=declared("Which.", choices=("a", "b"), autocast="kind"))
    ratio: "float" = field(default=0.5, metadata=declared("How far.", above=0, python_only=True))
    pace: "int" = field(default=1, metadata=declared("How fast.", spec_default=2))


EXAMPLE = options_of(Example)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("size", 1, "size is 1: give at least 2"),
        ("kind", "c", "kind is c: give a or b"),
        ("ratio", 0.0, "ratio is 0.0: give a number greater than 0, or inf for no limit"),
        ("ratio", float("nan"), "ratio is nan: give a number greater than 0"),
    ],
)
def test_a_value_out_of_bounds_is_refused_with_what_to_give(name, value, said):
    with pytest.raises(ConfigError, match=said):
        EXAMPLE[name].check(value)


@pytest.mark.parametrize(("name", "value"), [("size", 2), ("kind", "b"), ("kind", None), ("ratio", float("inf"))])
def test_a_value_within_bounds_is_accepted(name, value):
    EXAMPLE[name].check(value)


def test_the_table_has_a_row_for_each_option():
    options = options_of(Example)
    assert options_table(options.values()).splitlines()[2:] == [
        "| `size` | `--size`, `-s` | an integer, at least 2 | `3` |  | How much. |",
        "| `kind` | in a spec | `a`, `b` |  | yes | Which. |",
        "| `ratio` | Python only | a number, greater than 0 | `0.5` |  | How far. |",
        "| `pace` | in a spec | an integer | `1`, in a spec `2` |  | How fast. |",
    ]


def test_the_converters_table_has_a_row_for_every_option():
    rows = options_table(OPTIONS.values()).splitlines()[2:]
    assert [row.split("`")[1] for row in rows] == list(OPTIONS)
    assert {row.count(" | ") for row in rows} == {5}


def test_the_python_function_has_autocasts_parameters_with_the_declared_defaults():
    parameters = inspect.signature(convert_to_mixed_precision).parameters
    declared_ones = {each.autocast: each for each in OPTIONS.values() if each.autocast}
    assert set(parameters) - NOT_OPTIONS == set(declared_ones)
    for name, option in declared_ones.items():
        assert (parameters[name].default or None) == (option.default or None), name


def test_the_command_line_has_the_declared_flags_and_defaults():
    flags = {flag for action in get_parser()._actions for flag in action.option_strings}
    assert {flag for option in OPTIONS.values() for flag in option.flags} <= flags
    given = vars(get_parser().parse_args(["--onnx_path", "m.onnx"]))
    for option in OPTIONS.values():
        if option.flags:
            assert (given[option.destination] or None) == (option.default or None), option.name


def test_every_field_of_the_config_is_declared_with_a_sentence():
    assert list(OPTIONS) == list(inspect.signature(ConversionConfig).parameters)
    assert all(each.help.endswith(".") for each in OPTIONS.values())
