"""The registry of rules: complete, in order, described, tested, and what the documents say of it."""

from __future__ import annotations

import ast
import importlib
import pkgutil
from pathlib import Path

import pytest

from autocast_core.config import ConversionConfig
from autocast_core.decide import rules
from autocast_core.decide.rule import Outcome, Override, RuleEntry
from autocast_core.decide.rules import INCLUDE, RULES, entry_of, rules_table
from autocast_core.recipes import Recipe, RecipeDecision

MODULES = [
    module.name.removeprefix(f"{rules.__name__}.")
    for module in pkgutil.walk_packages(rules.__path__, f"{rules.__name__}.")
    if not module.ispkg
]
REPOSITORY = Path(__file__).parents[4]
IN_PLANS = {
    "no_float": {"binds a search"},
    "already_low": {"binds a search", "binds new weights"},
    "plugin_precision": {"binds a search", "binds new weights"},
    "legality": {"binds a search"},
    "include": {"binds a search", "binds new weights"},
    "earlier_conversion": {"binds a search"},
    "node_name": {"binds a search"},
    "op_type": {"binds a search"},
    "dynamic_quantization": {"binds a search"},
    "upcast_attention": {"binds a search"},
    "guards": {"binds a search"},
    "shape_arithmetic": {"binds a search"},
    "whole_numbers": {"binds a search"},
    "angles": {"binds a search"},
    "headroom": {"binds a search"},
    "initializer_range": set(),
    "small_values": set(),
    "io_range": set(),
    "conditioning": set(),
    "reduction_depth": set(),
    "custom": set(),
    "default": set(),
    "attention_core": set(),
    "neighbours": set(),
    "range": set(),
    "recipe": set(),
    "recipe_low": set(),
    "quantization_pair": {"binds a search"},
    "free": set(),
    "search": set(),
    "repair": set(),
    "release": set(),
    "placement": set(),
    "target": {"binds a search"},
}
"""What plans in users' hands rely on: names that are valid for good, and what each rule of that name promises."""


def module_of(name: str):
    return importlib.import_module(f"{rules.__name__}.{name}")


def test_every_rule_that_is_declared_is_in_the_registry_once():
    declared = [each for name in MODULES for each in vars(module_of(name)).values() if isinstance(each, RuleEntry)]
    assert sorted(entry.name for entry in declared) == sorted(entry.name for entry in RULES)
    assert len({entry.name for entry in RULES}) == len(RULES)


@pytest.mark.parametrize("name", MODULES)
def test_every_file_of_rules_has_a_docstring_and_tests(name):
    assert module_of(name).__doc__
    *folders, module = name.split(".")
    path = Path(__file__).parent.joinpath(*folders, f"test_{module}.py")
    tests = ast.parse(path.read_text(encoding="utf-8")).body
    assert any(isinstance(each, ast.FunctionDef) and each.name.startswith("test_") for each in tests)


@pytest.mark.parametrize("entry", RULES, ids=lambda entry: entry.name)
def test_every_rule_is_described_by_one_sentence_that_fits_a_table(entry):
    assert entry.title
    assert entry.description.endswith(".") and entry.description[:-1].count(". ") == 0
    assert "|" not in entry.description and "\n" not in entry.description


def test_a_rule_is_recorded_under_the_name_that_the_registry_has_for_it(model):
    quantized = "q, s, z = DynamicQuantizeLinear(x)"
    loaded = model(f"g (float[2] x) => (float[2] y, uint8[2] q, float s, uint8 z) {{ y = Neg(x) {quantized} }}")
    loaded.metadata_props["autocast.fp32_nodes"] = '["graph/Neg_1"]'
    config = ConversionConfig(
        nodes_to_exclude=("a",),
        op_types_to_exclude=("A",),
        nodes_to_include=("b",),
        max_depth_of_reduction=1,
        upcast_attention=True,
        headroom=8.0,
        recipe=Recipe(
            "r", "f", tuple(RecipeDecision("Add", kind, "", ("fp16",), names=("a",)) for kind in ("fp32", "low"))
        ),
    )
    built = {entry.name: entry.build(loaded, config) for entry in RULES if entry.build is not None}
    running = {name: rule.name for name, rule in built.items() if rule is not None}
    assert running == {name: name for name in running}
    later = {
        "attention_core",
        "range",
        "neighbours",
        "quantization_pair",
        "free",
        "search",
        "repair",
        "release",
        "placement",
        "target",
    }
    assert set(IN_PLANS) - set(running) == {"custom", *later}


def test_an_include_overrides_exactly_the_rules_that_keep_nodes_after_it():
    after = RULES[RULES.index(INCLUDE) + 1 :]
    keeping = [entry.name for entry in after if entry.build is not None and entry.outcome is Outcome.FP32]
    assert [entry.name for entry in RULES if entry.may_be_overridden_by(Override.INCLUDE)] == keeping


def test_what_a_release_may_override_stands_behind_all_others_that_keep_nodes():
    """So a plan names such a rule only for nodes that no other keeps: a release overrides nothing else."""
    keeping = [entry for entry in RULES if entry.build is not None and entry.outcome is Outcome.FP32]
    soft = [entry.may_be_overridden_by(Override.RELEASE) for entry in keeping]
    assert soft == sorted(soft) and any(soft)


def test_what_a_measurement_on_finite_data_cannot_know_no_release_overrides():
    hard = {"guards", "headroom", "initializer_range", "whole_numbers", "angles", "custom", "node_name", "op_type"}
    assert not any(entry_of(name).may_be_overridden_by(Override.RELEASE) for name in hard)


def test_the_last_rule_that_checks_nodes_applies_to_all_of_them(facts, model):
    last = [entry for entry in RULES if entry.build is not None][-1]
    rule = last.build(model("g (float[2] x) => (float[2] y) { y = Neg(x) }"), ConversionConfig())
    assert rule.check(facts()) is not None


def test_every_rules_name_is_listed_with_what_it_promises():
    assert set(IN_PLANS) == {entry.name for entry in RULES}


@pytest.mark.parametrize("name", IN_PLANS)
def test_a_name_in_a_plan_keeps_its_meaning(name):
    entry = entry_of(name)
    assert entry.name == name
    binding = {"binds a search"} if not entry.may_be_overridden_by(Override.SEARCH) else set()
    binding |= {"binds new weights"} if entry.binds_low else set()
    assert binding == IN_PLANS[name]


def test_a_name_that_no_rule_has_is_a_custom_rules():
    assert entry_of("no_exponentials").name == "custom"


def test_the_table_numbers_the_rules_in_the_order_in_which_they_run():
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in rules_table().splitlines()[2:]]
    assert [row[1].split("`")[1] for row in rows] == [entry.name for entry in RULES]
    numbered = [row[0] for row in rows if row[0].isdigit()]
    assert numbered == [str(number) for number in range(1, len(numbered) + 1)]
    assert rows[0] == [
        "1", "no float tensor: `no_float`", "no precision", "The node has no float input or output.", "nothing",
    ]  # fmt: skip
    overridden = {row[1].split("`")[1]: row[4] for row in rows}
    assert overridden["initializer_range"] == "include options, a search"


def listed_in_order(paragraph: str) -> bool:
    """Whether a paragraph lists the titles of the rules that anybody may meet, in the order of the registry."""
    position = 0
    for entry in RULES:
        if entry.build is None or entry.outcome in (Outcome.NONE, Outcome.DECLARED) or entry.name == "default":
            continue
        position = paragraph.find(entry.title, position)
        if position < 0:
            return False
        position += len(entry.title)
    return True


def test_the_documents_list_the_rules_in_the_order_of_the_registry():
    documents = [REPOSITORY / "README.md", *sorted((REPOSITORY / "infra" / "docs").rglob("*.md"))]
    about_rules, stale = [], []
    for document in documents:
        text = document.read_text(encoding="utf-8")
        paragraphs = [" ".join(each.split()) for each in text.split("\n\n")]
        lists = [each for each in paragraphs if each.startswith("Rules ") and "in this order" in each]
        has_table = rules_table().splitlines()[0] in text
        if lists or has_table:
            about_rules.append(document.name)
        if not all(map(listed_in_order, lists)) or (has_table and rules_table().strip() not in text):
            stale.append(document.name)
    assert about_rules
    assert stale == [], "write the tables anew: uv run python infra/docs/tables.py"
