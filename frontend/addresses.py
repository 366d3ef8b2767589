"""The public addresses of a tenant's servers. Always from the configured base URL, never from a Host header."""

from __future__ import annotations

from django.conf import settings

from servers.services.onboarding import DEFAULT_SERVER


def mcp_url(tenant: str, server: str = DEFAULT_SERVER) -> str:
    """Where an MCP client connects."""
    base = f"{settings.ENV.base_url}/mcp/{tenant}"
    return base if server == DEFAULT_SERVER else f"{base}/{server}"
