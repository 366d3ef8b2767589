"""What the navigation offers: only what the caller may open. Pure but for URL names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from django.urls import reverse

from tenants.access import Caller
from tenants.roles import Action


@dataclass(frozen=True, slots=True)
class Item:
    """One link. ``section`` is what a page names itself as; ``route`` is its URL's name."""

    section: str
    label: str
    icon: str
    route: str
    action: Action


@dataclass(frozen=True, slots=True)
class Link:
    """An item as it stands in one tenant's navigation."""

    section: str
    label: str
    icon: str
    url: str


_GROUPS: Final[tuple[tuple[str, tuple[Item, ...]], ...]] = (
    (
        "Build",
        (
            Item("overview", "Overview", "home", "frontend:overview", Action.SOURCES_READ),
            Item("sources", "Data sources", "database", "frontend:sources", Action.SOURCES_READ),
            Item("secrets", "Secrets", "lock", "frontend:secrets", Action.SECRETS_READ),
            Item("tools", "Tools", "tool", "frontend:tools", Action.TOOLS_READ),
            Item("resources", "Resources", "file", "frontend:resources", Action.RESOURCES_READ),
            Item("prompts", "Prompts", "speech", "frontend:prompts", Action.PROMPTS_READ),
            Item("servers", "Servers", "server", "frontend:servers", Action.SERVERS_READ),
            Item("configuration", "Configuration", "copy", "frontend:configuration", Action.SOURCES_READ),
        ),
    ),
    (
        "Access",
        (
            Item("connect", "Connect", "plug", "frontend:connect", Action.SERVERS_READ),
            Item("keys", "API keys", "key", "frontend:keys", Action.KEYS_READ),
            Item("access", "Access explained", "search", "frontend:access", Action.KEYS_READ),
            Item("apps", "Connected apps", "lock", "frontend:apps", Action.TENANT_READ),
            Item("issuers", "Outside issuers", "globe", "frontend:issuers", Action.KEYS_READ),
            Item("members", "Members", "people", "frontend:members", Action.MEMBERS_READ),
            Item("single_sign_on", "Single sign-on", "globe", "frontend:single_sign_on", Action.MEMBERS_READ),
        ),
    ),
    (
        "Activity",
        (
            Item("audit", "Audit", "check", "frontend:audit", Action.AUDIT_READ),
            Item("work", "Work", "clock", "frontend:work", Action.TASKS_READ),
            Item("log", "Log", "list", "frontend:log", Action.AUDIT_READ),
            Item("exports", "Exports", "download", "frontend:exports", Action.AUDIT_READ),
            Item("streams", "Streams", "arrow", "frontend:streams", Action.AUDIT_READ),
        ),
    ),
)


def navigation(caller: Caller) -> list[tuple[str, list[Link]]]:
    """The groups of links that the caller may open; groups left empty are dropped."""
    groups = []
    for title, items in _GROUPS:
        links = [
            Link(item.section, item.label, item.icon, reverse(item.route, args=[caller.tenant_slug]))
            for item in items
            if caller.may(item.action)
        ]
        if links:
            groups.append((title, links))
    return groups
