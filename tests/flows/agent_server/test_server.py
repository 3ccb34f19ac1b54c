"""`autocast mcp` over standard input and output, asked by the SDK's own client."""

import asyncio
import os
import sys
from datetime import timedelta

import pytest

from autocast_core.errors import ConfigError
from flows.agent_server.allowed_places import allowed_places
from flows.agent_server.server import make_server
from tests.flows.conversions import batches, mlp
from tests.settings import NAMES, NO_KEPT_SERVER

pytestmark = pytest.mark.xdist_group("commands")
TOOLS = {"lint", "convert", "diagnose", "tune", "review"}


async def asked(folder, calls):
    """The server's greeting, its tools, and its answers to the calls by their keys."""
    from mcp import ClientSession, StdioServerParameters
    from mcp.client.stdio import stdio_client

    program = ["-c", "from flows.cli import main; main()", "mcp", "--root", str(folder)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(NAMES)} | NO_KEPT_SERVER
    server = StdioServerParameters(command=sys.executable, args=program, env=environment)
    async with stdio_client(server) as streams, ClientSession(*streams) as session:
        greeting = await session.initialize()
        tools = (await session.list_tools()).tools
        limit = timedelta(seconds=300)
        answers = {key: await session.call_tool(*call, read_timeout_seconds=limit) for key, call in calls.items()}
    return greeting, {tool.name: tool for tool in tools}, answers


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A root with a model and its data."""
    pytest.importorskip("mcp", reason="the extra `mcp` is not installed")
    folder = tmp_path_factory.mktemp("agent")
    mlp(folder / "model.onnx")
    batches(folder / "data.npz")
    return folder


@pytest.fixture(scope="module")
def spoken(folder):
    """One conversation of which each test looks at a part."""
    calls = {
        "lint": ("lint", {"model": "model.onnx", "level": "note"}),
        "missing": ("lint", {"model": "none.onnx"}),
        "outside": ("lint", {"model": "/etc/passwd"}),
        "option": ("lint", {"model": "--strict"}),
        "file for review": ("review", {"version": "model.onnx"}),
        "wrong level": ("lint", {"model": "model.onnx", "level": "all"}),
    }
    return asyncio.run(asked(folder, calls))


def text_of(answer):
    (content,) = answer.content
    return content.text


def test_it_says_what_to_use_when_and_has_no_tool_that_promotes(spoken):
    greeting, tools, _ = spoken
    assert greeting.serverInfo.name == "autocast"
    assert "Promotion is a person's" in greeting.instructions
    assert tools.keys() == TOOLS


def test_every_tool_and_every_parameter_is_described(spoken):
    for tool in spoken[1].values():
        assert len(tool.description) > 80, tool.name
        for name, schema in tool.inputSchema["properties"].items():
            assert schema.get("description"), f"{tool.name}.{name}"


def test_no_tool_takes_what_runs_code_or_chooses_a_registered_name(spoken):
    taken = {name for tool in spoken[1].values() for name in tool.inputSchema["properties"]}
    assert taken & {"spec", "metric", "judge", "judges", "name", "plugins", "recipe", "trt_plugins", "alias"} == set()


def test_tools_that_only_read_say_so(spoken):
    reads = {name for name, tool in spoken[1].items() if tool.annotations.readOnlyHint}
    assert reads == {"lint", "diagnose", "review"}


def test_an_answer_is_the_object_that_the_command_prints(spoken):
    answer = spoken[2]["lint"]
    assert not answer.isError
    assert answer.structuredContent["exit_code"] == 0
    assert answer.structuredContent["attention"] == {"found": 0, "whole": 0}


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("missing", "none.onnx"),
        ("outside", "/etc/passwd is not allowed: start the server with --root FOLDER"),
        ("option", "--strict"),
        ("file for review", "give models:/NAME/VERSION or models:/NAME@ALIAS"),
        ("wrong level", "level"),
    ],
)
def test_what_cannot_be_done_is_an_error_that_says_why(spoken, call, said):
    answer = spoken[2][call]
    assert answer.isError
    assert said in text_of(answer)


@pytest.mark.slow
def test_an_agent_converts_diagnoses_tunes_and_reviews(folder):
    data = {"calibration": "data.npz", "evaluation": "data.npz"}
    calls = {
        "missed": ("convert", {"model": "model.onnx", **data, "gates": ["sqnr_db>=300"]}),
        "convert": ("convert", {"model": "model.onnx", **data, "output": "out/"}),
        "diagnose": ("diagnose", {"reference": "model.onnx", "candidate": "out/model.onnx", "data": "data.npz"}),
        "tune": ("tune", {"model": "model.onnx", "budgets": ["sqnr_db>=40"], "evaluation": "data.npz"}),
        "review": ("review", {"version": "models:/model-fp16@candidate"}),
    }
    answers = {key: answer.structuredContent for key, answer in asyncio.run(asked(folder, calls))[2].items()}
    assert answers["missed"]["exit_code"] == 3
    assert [gate["passed"] for gate in answers["missed"]["gates"] if "300" in gate["expression"]] == [False]
    assert answers["convert"]["registered"] == answers["review"]["model"]
    assert (folder / "out" / "model.onnx").is_file()
    assert answers["diagnose"]["diverges"] is False
    assert answers["tune"]["kept_fp32"] == []


def test_without_the_sdk_the_command_names_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "mcp.server.fastmcp", None)
    with pytest.raises(ConfigError, match=r"pip install 'autocast-flow\[mcp\]'"):
        make_server(allowed_places((tmp_path,), ()))
