"""The public addresses of a tenant's servers. Always from the configured base URL, never from a Host header."""

from __future__ import annotations

from tenants.oauth_addresses import DEFAULT_SERVER, resource


def mcp_url(tenant: str, server: str = DEFAULT_SERVER) -> str:
    """Where an MCP client connects."""
    return resource(tenant, server)
