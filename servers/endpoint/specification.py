"""Names and numbers of MCP's revisions, as the endpoint needs them. Nothing is decided here.

The SDK has them too, in packages that cost a process 20 MB and a quarter of a second; a test compares the two.
"""

from __future__ import annotations

from typing import Final

HANDSHAKE_VERSIONS: Final = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
"""Revisions that begin with ``initialize``, in their order."""

LATEST_HANDSHAKE_VERSION: Final = HANDSHAKE_VERSIONS[-1]

MODERN_VERSIONS: Final = ("2026-07-28",)
"""Revisions whose requests each say all that they need (2026-07-28 basic/index, "Per-request protocol fields")."""

_ORDER: Final = {version: place for place, version in enumerate((*HANDSHAKE_VERSIONS, *MODERN_VERSIONS))}

PROTOCOL_VERSION: Final = "io.modelcontextprotocol/protocolVersion"
CLIENT_INFO: Final = "io.modelcontextprotocol/clientInfo"
CLIENT_CAPABILITIES: Final = "io.modelcontextprotocol/clientCapabilities"
SERVER_INFO: Final = "io.modelcontextprotocol/serverInfo"
LOG_LEVEL: Final = "io.modelcontextprotocol/logLevel"

MIRRORING: Final = "x-mcp-header"
"""The keyword of an input schema whose property a client repeats in a header (SEP-2243)."""

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603
HEADER_MISMATCH: Final = -32020
MISSING_REQUIRED_CLIENT_CAPABILITY: Final = -32021
UNSUPPORTED_PROTOCOL_VERSION: Final = -32022

HTTP_STATUS: Final = {
    PARSE_ERROR: 400,
    INVALID_REQUEST: 400,
    INVALID_PARAMS: 400,
    HEADER_MISMATCH: 400,
    MISSING_REQUIRED_CLIENT_CAPABILITY: 400,
    UNSUPPORTED_PROTOCOL_VERSION: 400,
    METHOD_NOT_FOUND: 404,
}
"""The HTTP status of an error of the modern revisions (2026-07-28 basic/transports, "Sending Messages")."""


def is_at_least(version: str, minimum: str) -> bool:
    """Whether a revision is as new as another. One that nobody knows is not. ``KeyError`` for an unknown minimum."""
    return _ORDER.get(version, -1) >= _ORDER[minimum]
