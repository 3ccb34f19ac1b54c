"""A recipe: what was learnt about the precision of a family of models, by pattern of node, with reasons and figures.

The classes here are the form of recipe files: JSON, read and checked as plans are.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from autocast_core.config import Precision
from autocast_core.errors import MissingPlanError, PlanError
from autocast_core.plan.codec import canonical_json
from autocast_core.text import one_line

MOST_BYTES = 16 << 20
MOST_DECISIONS, MOST_NAMES = 5_000, 10_000
_SUFFIX = ".json"

LowType = Literal["fp16", "bf16"]
Count = Annotated[int, Meta(ge=0)]


class RecipeDecision(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The precision of all nodes of an operator that have one of the names, and that read and are read by these
    operators, as far as they are given."""

    op_type: str
    precision: Annotated[Literal["fp32", "low"], Meta(description="low: the 16-bit type of the conversion.")]
    reason: str
    types: Annotated[tuple[LowType, ...], Meta(min_length=1, description="The low types that it holds for.")]
    domain: Annotated[str, Meta(description="Empty: ONNX's own.")] = ""
    names: Annotated[
        tuple[str, ...], Meta(max_length=MOST_NAMES, description="Whole names; {n} stands for any whole number.")
    ] = ()
    reads: Annotated[
        tuple[str, ...] | UnsetType,
        Meta(description="By operand the operator that makes it, or input, constant, or empty where there is none."),
    ] = UNSET
    read_by: Annotated[
        tuple[str, ...] | UnsetType,
        Meta(description="The operators that read it, in alphabetical order, or output."),
    ] = UNSET
    rule: Annotated[str, Meta(description="The rule of the plan that it was learnt from.")] = ""
    nodes: Annotated[Count, Meta(description="How many nodes of that plan it is about.")] = 0
    share: Annotated[
        float | None, Meta(description="Their share of the squared error with every node low, where it was measured.")
    ] = None


class RecipeMeasurement(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A plan that the recipe was learnt from, and what was measured of it."""

    model: Annotated[str, Meta(description="Which model, as its makers call it.")]
    precision: Annotated[str, Meta(description="The plan's low types.")]
    fp32: Count
    low: Count
    structure_digest: str
    data: Annotated[str, Meta(description="Which data the plan is based on.")] = "none"
    batches: Count = 0
    backend: str | None = None
    sqnr_db: Annotated[
        float | None, Meta(description="Of the worst output's worst batch by this plan, in simulation.")
    ] = None
    sqnr_db_all_low: Annotated[
        float | None, Meta(description="The same with the nodes low that the plan keeps for what data showed.")
    ] = None
    engine_version: str = ""


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What was learnt about a family of models."""

    name: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=100)]
    family: Annotated[str, Meta(description="Which models it is for, in one sentence.")]
    decisions: Annotated[tuple[RecipeDecision, ...], Meta(max_length=MOST_DECISIONS)]
    measured: tuple[RecipeMeasurement, ...] = ()
    format: Annotated[int, Meta(ge=1, le=1)] = 1

    def __post_init__(self) -> None:
        for number, each in enumerate(self.decisions):
            if not each.names and each.reads is UNSET and each.read_by is UNSET:
                raise ValueError(f"decisions[{number}] names every {each.op_type}: give names, reads or read_by")

    def for_type(self, precision: Precision) -> tuple[RecipeDecision, ...]:
        """The decisions that hold for conversions to `precision`."""
        return tuple(each for each in self.decisions if precision.value in each.types)

    def to_json(self) -> str:
        """The text of a recipe file."""
        return canonical_json(self)

    @staticmethod
    def from_json(text: str) -> Recipe:
        """The recipe in `text`. PlanError names the first field that is wrong."""
        try:
            return msgspec.json.decode(text, type=Recipe)
        except msgspec.ValidationError as error:
            raise PlanError(one_line(error, 300)) from error
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as error:
            raise PlanError(f"the recipe is not JSON: {one_line(error, 300)}") from error

    def plain(self) -> dict[str, Any]:
        """The recipe as JSON values."""
        return dict(msgspec.json.decode(msgspec.json.encode(self)))


def library() -> tuple[str, ...]:
    """The names of the recipes that come with the project, in alphabetical order."""
    folder = resources.files("autocast_core.recipes") / "library"
    return tuple(sorted(each.name.removesuffix(_SUFFIX) for each in folder.iterdir() if each.name.endswith(_SUFFIX)))


def library_recipe(name: str) -> Recipe:
    """The recipe of that name that comes with the project. PlanError names those that there are."""
    if name not in library():
        raise PlanError(f"there is no recipe {name!r}; there are {', '.join(library())}, or give the path of a file")
    return Recipe.from_json(
        (resources.files("autocast_core.recipes") / "library" / f"{name}{_SUFFIX}").read_text("utf-8")
    )


def read_recipe(path: str | Path) -> Recipe:
    """The recipe in the file at `path`. PlanError where it is missing, too large, or not a recipe."""
    path = Path(path)
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise PlanError(f"{path}: is not a file: give a recipe's")
        if path.stat().st_size > MOST_BYTES:
            raise PlanError(f"{path}: is larger than {MOST_BYTES} bytes: give a recipe's file")
        return Recipe.from_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        known = ", ".join(library())
        raise MissingPlanError(f"{path}: no such file, and no recipe of that name; there are {known}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise PlanError(f"{path}: cannot read the recipe: {error}") from error
    except PlanError as error:
        text = str(error)
        raise PlanError(text if text.startswith(str(path)) else f"{path}: {text}") from error


def recipe_of(value: str | Mapping[str, Any] | Recipe) -> Recipe:
    """`value` as a recipe: one, the values of one, a name of the library, or the path of a file. PlanError."""
    if isinstance(value, Recipe):
        return value
    if isinstance(value, str):
        return library_recipe(value) if value in library() else read_recipe(value)
    try:
        return msgspec.convert(dict(value), Recipe)
    except msgspec.ValidationError as error:
        raise PlanError(f"recipe: {error}") from error
