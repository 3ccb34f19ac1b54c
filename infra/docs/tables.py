"""Writes the tables of these pages that are made from the code: `uv run python infra/docs/tables.py`.

A table stands between two comments that name it.
"""

from __future__ import annotations

import re
from pathlib import Path

from autocast_core.__main__ import get_parser
from autocast_core.config import ConversionConfig
from autocast_core.decide.rules import rules_table
from autocast_core.evaluate.judges import judges_table
from autocast_core.lint.checks import CHECKS
from autocast_core.options import options_of, options_table
from autocast_core.recipes import library, library_recipe
from flows.request.spec import Spec


def converter_options() -> str:
    """The converter's options, as they are declared on the fields of its configuration."""
    return options_table(options_of(ConversionConfig).values())


def command_arguments() -> str:
    """What `python -m autocast_core` takes besides the fields of the configuration."""
    fields = {option.destination for option in options_of(ConversionConfig).values() if option.flags}
    rows = ["| Command line | Meaning |", "| --- | --- |"]
    for action in get_parser()._actions:
        if action.dest not in {*fields, "help"}:
            value = f" {action.metavar}" if isinstance(action.metavar, str) else ""
            flags = ", ".join(f"`{flag}{value}`" for flag in action.option_strings)
            rows.append(f"| {flags} | {(action.help or '') % vars(action)} |")
    return "\n".join(rows) + "\n"


def flow_options() -> str:
    """The options of a spec that the converter does not have."""
    converter = options_of(ConversionConfig)
    rows = ["| Option | Default | Meaning |", "| --- | --- | --- |"]
    for name, field in Spec.model_fields.items():
        if name not in converter:
            rows.append(f"| `{name}` | {_shown(field.default)} | {field.description} |")
    return "\n".join(rows) + "\n"


def recipes() -> str:
    """The recipes that come with the project, and what they are worth."""
    rows = ["| Recipe | For | Learnt from | Type | Nodes in FP32 | By the plan | All low |", "| --- " * 7 + "|"]
    for recipe in map(library_recipe, library()):
        rows += [
            f"| `{recipe.name}` | {recipe.family} | {each.model} | {each.precision}"
            f" | {each.fp32} of {each.fp32 + each.low} | {each.sqnr_db:.1f} dB | {each.sqnr_db_all_low:.1f} dB |"
            for each in recipe.measured
        ]
    return "\n".join(rows) + "\n"


def _shown(default: object) -> str:
    if default is None:
        return ""
    if isinstance(default, bool):
        return str(default).lower()
    return f"`[{', '.join(default)}]`" if isinstance(default, tuple) else f"`{default}`"


def lint_codes() -> str:
    """Every check of the linter, with its page."""
    rows = ["| Code | Level | Finds |", "| --- | --- | --- |"]
    for check in CHECKS:
        reference = ", with `--reference`" if check.needs_reference else ""
        rows.append(f"| [{check.code}](lint/{check.code}.md) | {check.level.word} | {check.title}{reference} |")
    return "\n".join(rows) + "\n"


TABLES = {
    "lint-codes": lint_codes,
    "rules": rules_table,
    "converter-options": converter_options,
    "command-arguments": command_arguments,
    "flow-options": flow_options,
    "judges": judges_table,
    "recipes": recipes,
}
BLOCK = re.compile(r"(<!-- table ([\w-]+) -->\n).*?(<!-- end of table -->)", re.DOTALL)


def with_tables(text: str) -> str:
    """`text` with the content of every such table made anew. KeyError for a name that is not in TABLES."""
    return BLOCK.sub(lambda match: f"{match[1]}\n{TABLES[match[2]]()}\n{match[3]}", text)


if __name__ == "__main__":
    for page in sorted(Path(__file__).parent.glob("*.md")):
        before = page.read_text(encoding="utf-8")
        after = with_tables(before)
        if after != before:
            page.write_text(after, encoding="utf-8")
            print(f"wrote {page.name}")
