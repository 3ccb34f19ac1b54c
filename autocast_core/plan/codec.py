"""Typed values as canonical JSON, and back with one line about the first thing that is wrong.

msgspec checks a text while it reads it; Python's own `json` writes, since its spelling of numbers and of characters
beyond ASCII is the one that plan files have had from the start.
"""

from __future__ import annotations

import json
import re
from typing import Any, TypeVar

import msgspec

from autocast_core.config import Precision
from autocast_core.errors import PlanError
from autocast_core.json_values import finite

T = TypeVar("T")

_PATH = re.compile(r"(?s)(?P<problem>.*) - at `\$\.?(?P<path>.*)`")


def canonical_json(value: msgspec.Struct) -> str:
    """`value` as JSON: sorted keys, an indent of one space, NaN and infinities as null, a line end at the end."""
    plain = msgspec.to_builtins(value, enc_hook=_number)
    try:
        text = _compact(plain)
    except ValueError:  # a NaN or an infinity, which few plans hold
        text = _compact(finite(plain))
    return msgspec.json.format(text.encode(), indent=1).decode() + "\n"


def read_json(text: str, kind: type[T]) -> T:
    """The `kind` that `text` holds as JSON. PlanError names the first field that is wrong and what it must be."""
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.ValidationError as error:
        raise PlanError(_described(str(error))) from error
    except (msgspec.DecodeError, UnicodeEncodeError) as error:
        raise PlanError(f"the plan is not JSON: {error}") from error
    except RecursionError as error:
        raise PlanError("the plan is not JSON of this form: it is nested too deeply") from error


def _compact(plain: Any) -> str:
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _number(value: Any) -> float:
    """numpy's float64 is a float that msgspec does not know."""
    if isinstance(value, float):
        return float(value)
    raise TypeError(f"a plan cannot hold a value of type {type(value).__name__}")


def _described(message: str) -> str:
    """msgspec's message with the place first: ``nodes[3].rule: expected `str`, got `int` ``."""
    found = _PATH.fullmatch(message)
    problem, path = (found["problem"], found["path"]) if found else (message, "")
    if problem.startswith("Invalid enum value"):
        problem += f": give {', '.join(Precision)}"
    return f"{path or 'the plan'}: {problem[:1].lower()}{problem[1:]}"
