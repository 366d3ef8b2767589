"""MCP servers elsewhere as a data source, of either era: a team offers what they do as its own."""

from servers.execution.backends.mcp.backend import McpBackend

__all__ = ["McpBackend"]
