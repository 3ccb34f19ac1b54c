"""The server itself, by the official SDK: tools over standard input and output."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autocast_core.errors import ConfigError
from autocast_core.version import VERSION
from flows.agent_server.allowed_places import AllowedPlaces
from flows.agent_server.tools import AgentTools

if TYPE_CHECKING:
    from mcp.server.fastmcp import FastMCP

INSTRUCTIONS = """Converts FP32 ONNX models to mixed precision for TensorRT, and measures what that costs.
1. lint the model that you were given.
2. convert it, with calibration data of its own domain: random data decide badly.
3. If a gate is missed (exit_code 3): diagnose names the node, tune finds what must stay in FP32.
4. lint and review what was made; report gates, metrics and warnings as measured, with the backend that they name.
Promotion is a person's."""


def make_server(places: AllowedPlaces) -> FastMCP:
    """The server with its five tools. ConfigError where the SDK is not installed."""
    try:
        from mcp.server.fastmcp import FastMCP
        from mcp.types import ToolAnnotations
    except ImportError as error:
        raise ConfigError("mcp is not installed: pip install 'autocast-flow[mcp]'") from error
    server = FastMCP("autocast", instructions=INSTRUCTIONS, log_level="WARNING")
    # What clients show as this server's version; the SDK has no argument for it.
    server._mcp_server.version = VERSION
    tools = AgentTools(places)
    reads = ToolAnnotations(readOnlyHint=True, openWorldHint=False)
    writes = ToolAnnotations(readOnlyHint=False, destructiveHint=False, idempotentHint=True, openWorldHint=False)
    server.add_tool(tools.lint, annotations=reads)
    server.add_tool(tools.diagnose, annotations=reads)
    server.add_tool(tools.review, annotations=reads)
    server.add_tool(tools.convert, annotations=writes)
    server.add_tool(tools.tune, annotations=writes)
    return server
