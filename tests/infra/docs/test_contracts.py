"""The commands of contracts.md are those of the command line, with the keys of their JSON."""

import re
from importlib import import_module

import pytest

from tests.infra.docs.pages import DOCS

ROW = re.compile(r"^\| `autocast (\w+)[^|]*\|[^|]*\|\s*([^|]*?)\s*\|$", re.MULTILINE)
LISTED = dict(ROW.findall((DOCS / "contracts.md").read_text(encoding="utf-8")))
FOLDER = DOCS.parents[1] / "flows" / "cli"
MODULES = {
    path.stem: import_module(".".join(path.relative_to(FOLDER.parents[1]).with_suffix("").parts))
    for folder in (".", "registered_versions", "model_files", "this_machine")
    for path in (FOLDER / folder).glob("*.py")
    if path.stem not in ("__init__", "app")
}
WITH_KEYS = sorted(name for name, module in MODULES.items() if hasattr(module, "KEYS"))


def test_every_command_is_listed():
    from flows.cli.app import new_app

    app = new_app()
    for name in LISTED:
        MODULES[name].add_to(app)
    named = {command.name for command in app.registered_commands} | {group.name for group in app.registered_groups}
    assert named == set(LISTED) == set(MODULES)


def test_most_commands_declare_their_keys():
    assert len(WITH_KEYS) > len(MODULES) / 2


@pytest.mark.parametrize("command", WITH_KEYS)
def test_the_keys_of_a_commands_json_are_listed(command):
    assert tuple(LISTED[command].split(", ")) == MODULES[command].KEYS
