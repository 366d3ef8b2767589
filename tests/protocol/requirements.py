"""What the specification demands of the endpoint, as data: id → where it stands and what it says, in our words.

``requirement(id)`` ties a test to it; ``test_requirements`` fails for a demand that no test names.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

T = TypeVar("T", bound=Callable[..., object])


@dataclass(frozen=True)
class Requirement:
    """A demand and its source: revision and page, or an RFC's section."""

    source: str
    text: str


REQUIREMENTS: Final = {
    "http:post-only": Requirement("2026-07-28 transports", "GET and DELETE answer 405"),
    "http:origin": Requirement("2026-07-28 transports, Security", "an Origin that is not allowed gets 403"),
    "http:notification-202": Requirement(
        "2026-07-28 transports, Sending 5", "an accepted notification gets 202, no body"
    ),
    "http:no-session": Requirement(
        "2026-07-28 transports, Earlier", "a session id is neither needed nor minted"
    ),
    "modern:envelope": Requirement("2026-07-28 basic, _meta", "a missing envelope key is -32602 and 400"),
    "modern:header-mismatch": Requirement("2026-07-28 transports, Server Validation", "-32020 and 400"),
    "modern:header-base64": Requirement(
        "2026-07-28 transports, Value Encoding", "an encoded Mcp-Name is decoded first"
    ),
    "modern:header-param": Requirement(
        "2026-07-28 transports, Custom Headers", "Mcp-Param-* must match the arguments"
    ),
    "modern:version": Requirement(
        "2026-07-28 versioning", "an unserved version is -32022 and 400, listing ours"
    ),
    "modern:unknown-method": Requirement("2026-07-28 transports, Version Header", "-32601 and 404"),
    "modern:discover": Requirement("2026-07-28 server/discover", "names versions, capabilities and identity"),
    "modern:removed-methods": Requirement(
        "2026-07-28 changelog 2, 5", "initialize and ping are unknown methods"
    ),
    "modern:result-type": Requirement("2026-07-28 basic, ResultType", "each result has a resultType"),
    "modern:cache-hints": Requirement(
        "2026-07-28 caching", "lists and discover have ttlMs >= 0 and cacheScope"
    ),
    "modern:identity": Requirement("2026-07-28 basic, Per-response", "each result's _meta names the server"),
    "modern:cancel": Requirement("2026-07-28 cancellation", "a closed connection cancels the call"),
    "legacy:negotiate": Requirement(
        "2025-11-25 lifecycle", "the version asked for when served, else our latest"
    ),
    "legacy:header": Requirement("2025-11-25 transports", "an unsupported version header gets 400"),
    "legacy:no-header": Requirement("2025-11-25 transports", "no header counts as 2025-03-26"),
    "legacy:ping": Requirement("2025-11-25 ping", "ping is answered with an empty result"),
    "legacy:batch": Requirement("2025-03-26 basic", "a batch is answered with a batch"),
    "legacy:batch-initialize": Requirement("2025-03-26 lifecycle", "initialize is not part of a batch"),
    "legacy:no-batch": Requirement("2025-06-18 changelog", "later revisions have no batches"),
    "rpc:id": Requirement(
        "2026-07-28 basic, Requests", "an id is a string or integer and never null; it is echoed"
    ),
    "rpc:parse-error": Requirement("JSON-RPC 2.0, 5.1", "what is not JSON is -32700"),
    "tools:order": Requirement(
        "2026-07-28 tools, Capabilities", "the order of the list does not change by itself"
    ),
    "tools:unknown": Requirement(
        "2026-07-28 tools, Error Handling", "an unknown tool is -32602 with its name"
    ),
    "tools:validation": Requirement(
        "2025-11-25 tools, SEP-1303", "bad arguments are a tool error the model sees"
    ),
    "tools:validation-old": Requirement("2025-06-18 tools", "bad arguments are a protocol error"),
    "tools:structured": Requirement(
        "2026-07-28 tools, Structured Content", "structured content comes as text too"
    ),
    "tools:failure": Requirement("2026-07-28 tools, Error Handling", "a failed source is a tool error"),
    "lists:cursor": Requirement("2026-07-28 pagination", "pages are followed by cursor; a bad one is -32602"),
    "auth:401": Requirement(
        "2026-07-28 authorization; RFC 6750, 3", "no or bad token gets 401 and a challenge"
    ),
    "auth:403": Requirement(
        "2026-07-28 authorization, Runtime", "403 insufficient_scope names what is needed"
    ),
}


def requirement(*names: str) -> Callable[[T], T]:
    """Say that a test shows these requirements to hold."""
    unknown = [name for name in names if name not in REQUIREMENTS]
    if unknown:
        raise LookupError(f"no such requirement: {unknown}")
    return lambda test: test
