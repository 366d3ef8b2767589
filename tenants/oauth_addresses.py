"""The addresses of OAuth: a tenant's issuer, the servers that tokens are for, and their metadata. Pure.

All are made of the installation's fixed base URL, never of a request's Host header.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from django.conf import settings

from tenants.models import SLUG_PATTERN

DEFAULT_SERVER: Final = "default"
"""The slug of the server that every tenant has, and that its bare URL stands for."""

RESERVED_SERVERS: Final = ("ws", "sse", "messages")
"""Segments of paths below ``/mcp/{tenant}`` that name a transport, and so no server."""

_SLUG: Final = re.compile(SLUG_PATTERN)


def base_url() -> str:
    """Where this installation is reached, without a slash at the end."""
    url: str = settings.ENV.base_url
    return url


def issuer(tenant_slug: str) -> str:
    """A tenant's issuer identifier (RFC 8414 section 2)."""
    return f"{base_url()}/oauth/{tenant_slug}"


def resource(tenant_slug: str, server: str = DEFAULT_SERVER) -> str:
    """A server's resource identifier (RFC 8707): its MCP URL. The default server's is the tenant's."""
    whole = f"{base_url()}/mcp/{tenant_slug}"
    return whole if server == DEFAULT_SERVER else f"{whole}/{server}"


def metadata_url(tenant_slug: str, server: str | None = None) -> str:
    """Where a server's protected resource metadata stands (RFC 9728 section 3.1); ``None``: no server was named."""
    whole = f"{base_url()}/.well-known/oauth-protected-resource/mcp/{tenant_slug}"
    return whole if server is None else f"{whole}/{server}"


def server_of(wanted: str, tenant_slug: str) -> str | None:
    """The slug of the server whose resource identifier this is, letter for letter; ``None``: it is none of ours.

    ``…/mcp/{tenant}`` and ``…/mcp/{tenant}/default`` are the same server, and both its URLs.
    """
    whole = f"{base_url()}/mcp/{tenant_slug}"
    if wanted == whole:
        return DEFAULT_SERVER
    if not wanted.startswith(f"{whole}/"):
        return None
    slug = wanted[len(whole) + 1 :]
    return slug if may_name_server(slug) else None


def may_name_server(slug: str) -> bool:
    """Whether there can be a server of this slug."""
    return _SLUG.fullmatch(slug) is not None and slug not in RESERVED_SERVERS


def same_resource(asked: str, audiences: Sequence[str]) -> bool:
    """Whether a token for ``audiences`` may be used at ``asked``: one audience, letter for letter the same."""
    return list(audiences) == [asked]
