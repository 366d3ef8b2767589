"""What a server does not offer of its data sources' tools, and why: nothing is missing without a reason.

Tools of sources that are not on the server are none of its business, and not told.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from uuid import UUID

from django.db.models import Q

from servers.models import DataSource, ServedVersion, Server, Tool, ToolVersion
from servers.services.reach import offered_tools, served_by
from servers.services.servers import find_server
from tenants.access import Caller
from tenants.roles import Action
from tenants.scoping import tenant_scope

_OFF = "It is switched off. An editor of the team can switch it on."
_DRAFT = "It has no published version yet. An editor of the team can publish one."


@dataclass(frozen=True, slots=True)
class Withheld:
    """A tool that is not offered. ``source`` is its data source's name."""

    name: str
    source: str
    reason: str


def list_withheld(server_id: UUID, *, caller: Caller) -> list[Withheld]:
    """The tools that a server does not offer, by name. Raises ``NotFound``."""
    caller.require(Action.SERVERS_READ)
    with tenant_scope(caller.tenant_id):
        server = find_server(server_id, caller)
        pinned = served_by(server).filter(use=ServedVersion.Use.PIN).values_list("tool__name", flat=True)
        offered = {*offered_tools(server).values_list("name", flat=True), *pinned}
        return withheld_from(server, offered)


def withheld_from(server: Server, offered: Container[str]) -> list[Withheld]:
    """The same in the scope that is open, whoever asks; ``offered`` are the names of the tools that it does offer."""
    missing = ~Q(enabled=True, current__state=ToolVersion.State.PUBLISHED)
    rows = Tool.objects.filter(missing)
    sources = DataSource.objects.filter(settings__has_key="upstream")
    if not server.offers_all:
        rows = rows.filter(source__in=server.sources.all())
        sources = sources.filter(pk__in=server.sources.all())
    # Without the rest of the sources' settings and the tools' schemas, which can be long.
    named = rows.values_list("name", "source__name", "enabled")
    found = [Withheld(name, source, _DRAFT if enabled else _OFF) for name, source, enabled in named]
    listed = sources.values_list("name", "tool_prefix", "settings__prefix", "settings__upstream__left_out")
    for source, own, prefix, left_out in listed:
        # What its server lists and was not taken over.
        found.extend(
            Withheld(f"{own}{prefix or ''}{each['name']}", source, each["reason"])
            for each in left_out or ()
            if each.get("what") == "tool"
        )
    return sorted(
        (each for each in found if each.name not in offered), key=lambda each: (each.name, each.source)
    )
