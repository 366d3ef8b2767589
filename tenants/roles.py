"""The roles, the scopes, and the one table of who may do what. Pure data: UI, REST and MCP all ask it."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Final


class Role(StrEnum):
    """A member's role in a tenant."""

    OWNER = "owner"
    ADMIN = "admin"
    EDITOR = "editor"
    VIEWER = "viewer"
    AUDITOR = "auditor"


class Action(StrEnum):
    """What can be allowed or refused, in the dashboard, in REST and over MCP."""

    TENANT_READ = "tenant.read"
    TENANT_CHANGE = "tenant.change"
    MEMBERS_READ = "members.read"
    MEMBERS_CHANGE = "members.change"
    KEYS_READ = "keys.read"
    KEYS_CHANGE = "keys.change"
    SOURCES_READ = "sources.read"
    SOURCES_CHANGE = "sources.change"
    SOURCES_APPROVE = "sources.approve"
    """Taking over what a data source describes otherwise than before."""
    SECRETS_READ = "secrets.read"
    SECRETS_CHANGE = "secrets.change"
    TOOLS_READ = "tools.read"
    TOOLS_CHANGE = "tools.change"
    TOOLS_CALL = "tools.call"
    RESOURCES_READ = "resources.read"
    PROMPTS_READ = "prompts.read"
    SERVERS_READ = "servers.read"
    SERVERS_CHANGE = "servers.change"
    SERVERS_PUBLISH = "servers.publish"
    TASKS_READ = "tasks.read"
    TASKS_MANAGE = "tasks.manage"
    AUDIT_READ = "audit.read"
    AUDIT_PAYLOADS = "audit.payloads"
    AUDIT_REVEAL = "audit.reveal"
    STREAMS_CHANGE = "streams.change"


_READ: Final = frozenset(
    {
        Action.TENANT_READ,
        Action.SOURCES_READ,
        Action.TOOLS_READ,
        Action.RESOURCES_READ,
        Action.PROMPTS_READ,
        Action.SERVERS_READ,
        Action.TASKS_READ,
    }
)

ALLOWED: Final[dict[Role, frozenset[Action]]] = {
    Role.OWNER: frozenset(Action),
    Role.ADMIN: frozenset(Action) - {Action.TENANT_CHANGE, Action.SERVERS_PUBLISH},
    Role.EDITOR: _READ
    | {
        Action.SOURCES_CHANGE,
        Action.SECRETS_READ,
        Action.TOOLS_CHANGE,
        Action.TOOLS_CALL,
        Action.SERVERS_CHANGE,
        Action.TASKS_MANAGE,
        Action.MEMBERS_READ,
    },
    Role.VIEWER: _READ | {Action.TOOLS_CALL},
    Role.AUDITOR: frozenset(
        {
            Action.TENANT_READ,
            Action.AUDIT_READ,
            Action.AUDIT_REVEAL,
            Action.TASKS_READ,
            Action.MEMBERS_READ,
            Action.KEYS_READ,
        }
    ),
}
"""Role → actions. Default deny: what is not listed is refused."""

AUDITOR_WITH_PAYLOADS: Final = ALLOWED[Role.AUDITOR] | {Action.AUDIT_PAYLOADS}
"""What an auditor may to whom the team gave the sight of what calls were given and gave."""

SCOPES: Final[dict[str, str]] = {
    "tools:read": "List the tools of this team's servers.",
    "tools:execute": "Call any tool of this team's servers.",
    "resources:read": "List and read the resources of this team's servers.",
    "prompts:read": "List and get the prompts of this team's servers.",
    "tasks:manage": "See tasks and their results, cancel them and run them again.",
    "audit:read": "Search the log and download exports.",
    "audit:metadata": "Search the log and download exports, without what calls were given and gave.",
    "admin": "Everything, including configuration through REST.",
}
"""Scope → what it lets a credential do, in plain words. ``tool:<name>`` and ``server:<slug>`` narrow."""

SCOPE_ACTIONS: Final[dict[str, frozenset[Action]]] = {
    "tools:read": frozenset({Action.TOOLS_READ}),
    "tools:execute": frozenset({Action.TOOLS_CALL}),
    "resources:read": frozenset({Action.RESOURCES_READ}),
    "prompts:read": frozenset({Action.PROMPTS_READ}),
    "tasks:manage": frozenset({Action.TASKS_READ, Action.TASKS_MANAGE}),
    "audit:read": frozenset({Action.AUDIT_READ, Action.AUDIT_PAYLOADS}),
    "audit:metadata": frozenset({Action.AUDIT_READ}),
    "admin": frozenset(Action),
}

NARROWING: Final = ("tool:", "server:")
"""Prefixes of scopes that narrow the others to named tools or servers."""

OAUTH_SCOPES: Final[dict[str, str]] = {
    "tools:read": "List the server's tools.",
    "tools:execute": "Call the server's tools.",
    "resources:read": "List and read the server's resources.",
    "prompts:read": "List and get the server's prompts.",
}
"""What an OAuth client may be given, in plain words: the use of one server. Configuration and the log take a key or a
session."""

OAUTH_DEFAULT: Final = ("tools:read", "tools:execute")
"""What an OAuth client is told to ask for, and given where it asks for nothing in particular."""


def within_role(scopes: Iterable[str], role: Role) -> frozenset[str]:
    """Those of ``scopes`` that allow nothing beyond ``role``; scopes that only narrow stay."""
    allowed = ALLOWED[role]
    return frozenset(scope for scope in scopes if SCOPE_ACTIONS.get(scope, frozenset()) <= allowed)
