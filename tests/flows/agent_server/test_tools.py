"""What the tools make of an agent's words."""

import asyncio
from pathlib import Path

import pytest
import yaml

from autocast_core.errors import ConfigError
from flows.agent_server import tools
from flows.agent_server.allowed_places import allowed_places


@pytest.fixture
def called(tmp_path, monkeypatch):
    """The words of the commands that the tools ran, with the spec file that they were given."""
    commands = []

    async def note(folder, *words):
        files = [Path(word.partition("=")[2]) for word in words if word.startswith("--spec=")]
        specs = [yaml.safe_load(file.read_text(encoding="utf-8")) for file in files]
        commands.append((words, *specs))
        return {}

    monkeypatch.setattr(tools, "answered", note)
    return tools.AgentTools(allowed_places((tmp_path,), ())), commands


def test_values_of_options_stand_behind_their_names(called, tmp_path):
    agent, commands = called
    asyncio.run(agent.tune("m.onnx", ["--workers", "sqnr_db>=40"], minimize="--pareto", minutes=2.0))
    assert commands[0][0] == (
        "tune",
        *("--budget=--workers", "--budget=sqnr_db>=40", "--precision=fp16", "--minimize=--pareto", "--minutes=2.0"),
        *("--", str(tmp_path / "m.onnx")),
    )


def test_gates_of_an_agent_hold_beside_the_default_ones(called, tmp_path):
    agent, commands = called
    asyncio.run(agent.convert("m.onnx", gates=["rel_l2<=1"], dry_run=True))
    words, spec = commands[0]
    assert spec == {"gates": ["rel_l2<=1"], "keep_default_gates": True}
    assert "--dry-run" in words


def test_an_output_elsewhere_is_refused_before_anything_runs(called):
    agent, commands = called
    with pytest.raises(ConfigError, match="start the server with --root"):
        asyncio.run(agent.convert("m.onnx", output="/tmp/elsewhere"))
    assert commands == []
