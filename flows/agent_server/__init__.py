"""The Model Context Protocol server of `autocast mcp`: an agent's calls become commands, as far as its user allows."""
