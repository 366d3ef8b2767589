"""Which servers and tools a caller's narrowing scopes leave to it. Pure: reads nothing, records nothing.

``server:<slug>`` and ``tool:<name>`` take away, they never give: a key with none of a kind is not narrowed in
that kind, a key with some reaches those only. People are not narrowed; their role decides.
"""

from __future__ import annotations

from functools import lru_cache

from core.errors import Forbidden
from tenants.access import Caller


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


def require_tool(caller: Caller, name: str) -> None:
    """Raise ``Forbidden`` when the caller is narrowed to other tools."""
    left = tools_left(caller)
    if left is not None and name not in left:
        raise Forbidden(
            f"This credential is narrowed to other tools: it lacks the scope tool:{name}. "
            f"It may call {', '.join(sorted(left))}. Issue a key that names this tool too.",
            rule=f"scope:tool:{name}",
            code="insufficient_scope",
            data={"needed_scopes": [f"tool:{name}"]},
        )
