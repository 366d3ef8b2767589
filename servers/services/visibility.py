"""Which servers and tools a caller's narrowing scopes leave to it. Pure: reads nothing, records nothing.

``server:<slug>`` and ``tool:<name>`` take away, they never give: a key with none of a kind is not narrowed in
that kind, a key with some reaches those only. People are not narrowed; their role decides.
"""

from __future__ import annotations

from functools import lru_cache

from core.errors import Forbidden, Unauthenticated
from tenants.access import Caller
from tenants.scopenames import NARROWED_TOOL


@lru_cache(maxsize=4096)
def _named(scopes: frozenset[str], prefix: str) -> frozenset[str] | None:
    named = frozenset(scope.removeprefix(prefix) for scope in scopes if scope.startswith(prefix))
    return named or None


def tools_left(caller: Caller) -> frozenset[str] | None:
    """The tool names that the caller is narrowed to, or ``None`` when it may reach every tool."""
    return _named(caller.scopes, "tool:")


def servers_left(caller: Caller) -> frozenset[str] | None:
    """The server slugs that the caller is narrowed to, or ``None`` when it may reach every server."""
    return _named(caller.scopes, "server:")


def may_use_server(caller: Caller, slug: str) -> bool:
    """Whether the caller is not narrowed to other servers."""
    left = servers_left(caller)
    return left is None or slug in left


def require_server(caller: Caller, slug: str) -> None:
    """Raise ``Forbidden`` when the caller is narrowed to other servers, whether or not this one exists."""
    left = servers_left(caller)
    if left is not None and slug not in left:
        raise Forbidden(
            f"This credential is narrowed to other servers: it lacks the scope server:{slug}. "
            f"It reaches {', '.join(sorted(left))}. Use one of their URLs, or issue a key for this server.",
            rule=f"scope:server:{slug}",
            code="insufficient_scope",
            data={"needed_scopes": [f"server:{slug}"]},
        )


def scopes_of_tool(name: str) -> list[str]:
    """The scope that leaves this tool to a credential. None for a name that no tool can have: a client made it up."""
    scope = f"tool:{name}"
    return [scope] if NARROWED_TOOL.fullmatch(scope) else []


def require_audience(caller: Caller, slug: str) -> None:
    """Raise ``Unauthenticated`` where an access token's caller is asked for at another server than the token is for.

    A token is for one server (RFC 8707): anywhere else it is no credential, rather than a weak one.
    """
    if caller.audience not in {"", slug}:
        raise Unauthenticated(
            "This access token is for another server of the team. Authorize the client for this one.",
            code="token_audience",
        )


def require_tool(caller: Caller, name: str) -> None:
    """Raise ``Forbidden`` when the caller is narrowed to other tools."""
    left = tools_left(caller)
    if left is None or name in left:
        return
    may = f"It may call {', '.join(sorted(left))}."
    needed = scopes_of_tool(name)
    if not needed:
        raise Forbidden(
            f"This credential is narrowed to other tools, and no tool can have the name that was sent. {may}",
            rule="scope:tool",
            code="insufficient_scope",
        )
    raise Forbidden(
        f"This credential is narrowed to other tools: it lacks the scope {needed[0]}. {may} "
        "Issue a key that names this tool too.",
        rule=f"scope:{needed[0]}",
        code="insufficient_scope",
        data={"needed_scopes": needed},
    )
