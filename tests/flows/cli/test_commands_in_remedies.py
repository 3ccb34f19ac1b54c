"""The commands that remedies of lint name: they exist, with the options that are named."""

import re

import pytest
import typer

from autocast_core.lint.checks import CHECKS
from tests.infra.docs.test_contracts import MODULES

COMMAND = re.compile(r"`autocast (?P<name>[a-z]+)(?P<rest>[^`]*)`")
NAMED = [(check.code, found) for check in CHECKS for found in COMMAND.finditer(check.remedy)]


@pytest.fixture(scope="module")
def options():
    """The options of each command by its name; of groups those of all their commands."""
    app = typer.Typer()
    for module in MODULES.values():
        module.add_to(app)
    commands = typer.main.get_command(app).commands

    def of(command):
        below = [name for each in getattr(command, "commands", {}).values() for name in of(each)]
        return {*below, *(name for parameter in command.params for name in parameter.opts)}

    return {name: of(command) for name, command in commands.items()}


@pytest.mark.parametrize(("code", "found"), NAMED, ids=[f"{code} {found['name']}" for code, found in NAMED])
def test_a_command_that_a_remedy_names_has_the_options(options, code, found):
    assert set(re.findall(r"--[a-z-]+", found["rest"])) <= options[found["name"]]
