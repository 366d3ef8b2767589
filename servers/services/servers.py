"""Servers: the MCP surfaces of a tenant, each at its own URL. Speaks no MCP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from django.db.models import QuerySet

from core.errors import Conflict, NotFound
from servers.models import DataSource, Prompt, Resource, ServedVersion, Server, ServerSource
from servers.services.changes import publish_change
from servers.services.reach import offered_by, offered_tools, served_by
from servers.services.visibility import servers_left
from tenants.access import Caller
from tenants.models import SLUG_PATTERN
from tenants.oauth_addresses import DEFAULT_SERVER, RESERVED_SERVERS
from tenants.roles import Action
from tenants.scoping import tenant_scope
from tenants.services.inputs import clean_text, matching, name_taken, one_of, refuse
from tenants.services.recording import record_change

MAX_INSTRUCTIONS: Final = 8_000
MAX_SOURCES: Final = 200


def list_servers(*, caller: Caller) -> list[Server]:
    """The servers that the caller may see, by slug, each with its sources at hand."""
    caller.require(Action.SERVERS_READ)
    with tenant_scope(caller.tenant_id):
        return list(_visible(caller))


def has_server(slug: str, *, caller: Caller) -> bool:
    """Whether there is a server of this slug that the caller may see."""
    caller.require(Action.SERVERS_READ)
    with tenant_scope(caller.tenant_id):
        return _visible(caller).filter(slug=slug).exists()


def get_server(server_id: UUID, *, caller: Caller) -> Server:
    """One server with its sources at hand. Raises ``NotFound``."""
    caller.require(Action.SERVERS_READ)
    with tenant_scope(caller.tenant_id):
        return find_server(server_id, caller)


@dataclass(frozen=True, slots=True)
class Counts:
    """How much a server offers, of each."""

    tools: int
    resources: int
    templates: int
    prompts: int


def count_offered(server_id: UUID, *, caller: Caller) -> Counts:
    """How much a server offers now: what is switched on of its sources. Raises ``NotFound``."""
    caller.require(Action.SERVERS_READ)
    with tenant_scope(caller.tenant_id):
        server = find_server(server_id, caller)
        resources = offered_by(server, Resource.objects.all())
        return Counts(
            tools=offered_tools(server).count()
            + served_by(server).filter(use=ServedVersion.Use.BESIDE).count(),
            resources=resources.filter(template=False).count(),
            templates=resources.filter(template=True).count(),
            prompts=offered_by(server, Prompt.objects.all()).count(),
        )


def create_server(
    slug: str,
    title: str,
    access: str = Server.Access.PRIVATE.value,
    sources: Sequence[str] | None = None,
    instructions: str = "",
    *,
    caller: Caller,
) -> Server:
    """Make a server that offers what comes of the named data sources, or of all where ``sources`` is None.

    ``public`` needs no credential to be used, so only an owner may make a server so. Raises ``InvalidInput`` and
    ``Conflict`` (the slug).
    """
    caller.require(Action.SERVERS_CHANGE)
    if access == Server.Access.PUBLIC:
        caller.require(Action.SERVERS_PUBLISH)
    matching(
        slug,
        "slug",
        SLUG_PATTERN,
        "must be lower-case letters, digits and inner hyphens, at most 40: like sales.",
    )
    if slug in RESERVED_SERVERS:
        refuse("slug", f"{slug} is reserved for MCP's transports. Choose another.")
    with tenant_scope(caller.tenant_id):
        rows = None if sources is None else _sources(sources)
        with name_taken(
            "servers_server_slug_unique", f"A server at {slug} exists already. Choose another slug."
        ):
            server = Server.objects.create(
                slug=slug,
                title=_title(title),
                access=_access(access),
                instructions=_instructions(instructions),
                offers_all=rows is None,
            )
        _offer(server, rows or [])
        server = find_server(server.pk, caller)
        publish_change(caller.tenant_id)
        record_change("server.created", caller=caller, after=_shown(server), server=slug)
        _record_access(Server.Access.PRIVATE, server, caller)
    return server


def update_server(
    server_id: UUID,
    *,
    caller: Caller,
    title: str | None = None,
    access: str | None = None,
    sources: Sequence[str] | None = None,
    offers_all: bool | None = None,
    instructions: str | None = None,
) -> Server:
    """Change a server; what is ``None`` stays. Naming ``sources`` ends offering all, unless told otherwise.

    Only an owner makes a server public; whoever may change it may make it private again. Raises ``InvalidInput``
    and ``NotFound``.
    """
    caller.require(Action.SERVERS_CHANGE)
    if offers_all is not None and not isinstance(offers_all, bool):
        refuse("offers_all", "must be true or false.")
    if offers_all and sources:
        refuse("sources", "cannot be chosen while offers_all is true. Give one of the two.")
    with tenant_scope(caller.tenant_id):
        server = locked_server(server_id, caller)
        before = _shown(server)
        if title is not None:
            server.title = _title(title)
        if access is not None:
            server.access = _access(access)
            if server.access == Server.Access.PUBLIC and before["access"] != server.access:
                caller.require(Action.SERVERS_PUBLISH)
        if instructions is not None:
            server.instructions = _instructions(instructions)
        if sources is not None:
            _offer(server, _sources(sources))
            server.offers_all = False
        if offers_all is not None:
            server.offers_all = offers_all
            if offers_all:
                _offer(server, [])
        server.save()
        server = find_server(server_id, caller)
        after = _shown(server)
        if after != before:
            publish_change(caller.tenant_id)
            record_change("server.changed", caller=caller, before=before, after=after, server=server.slug)
            _record_access(before["access"], server, caller)
    return server


def delete_server(server_id: UUID, *, caller: Caller) -> None:
    """Delete a server; its sources and tools stay. Raises ``NotFound`` and, for ``default``, ``Conflict``."""
    caller.require(Action.SERVERS_CHANGE)
    with tenant_scope(caller.tenant_id):
        server = find_server(server_id, caller)
        if server.slug == DEFAULT_SERVER:
            raise Conflict(
                "Every team keeps its default server. Make it private, or choose what it offers, instead.",
                code="default_server",
            )
        before = _shown(server)
        server.delete()
        publish_change(caller.tenant_id)
        record_change("server.deleted", caller=caller, before=before, server=server.slug)


def locked_server(server_id: UUID, caller: Caller) -> Server:
    """The server as it is now, locked for who is about to change it, in the scope that is open. Raises ``NotFound``."""
    find_server(server_id, caller)
    Server.objects.select_for_update().get(pk=server_id)
    return find_server(server_id, caller)


def find_server(server_id: UUID, caller: Caller) -> Server:
    """The server with its sources at hand, in the scope that is open. Raises ``NotFound``."""
    server = _visible(caller).filter(pk=server_id).first()
    if server is None:
        raise NotFound("There is no such server in this team.", code="server_not_found")
    return server


def _record_access(before: str, server: Server, caller: Caller) -> None:
    """Say it in a record of its own when a server was opened to everybody, or closed again."""
    if server.access != before:
        kind = "server.published" if server.access == Server.Access.PUBLIC else "server.unpublished"
        record_change(kind, caller=caller, server=server.slug)


def _visible(caller: Caller) -> QuerySet[Server]:
    servers: QuerySet[Server] = Server.objects.prefetch_related("sources")
    slugs = servers_left(caller)
    return servers if slugs is None else servers.filter(slug__in=slugs)


def _sources(names: object) -> list[DataSource]:
    if not isinstance(names, list | tuple):
        refuse("sources", "must be a list of data source names.")
    if len(names) > MAX_SOURCES:
        refuse("sources", f"lists {len(names)}; at most {MAX_SOURCES} are allowed.")
    known = {row.name: row for row in DataSource.objects.all()}
    for place, name in enumerate(names):
        if not isinstance(name, str) or name not in known:
            refuse(
                f"sources.{place}",
                "there is no data source of that name. "
                f"This team's: {', '.join(list(known)[:20]) or 'none yet'}.",
            )
    return [known[name] for name in dict.fromkeys(names)]


def _offer(server: Server, rows: Sequence[DataSource]) -> None:
    ServerSource.objects.filter(server=server).exclude(source__in=rows).delete()
    present = set(ServerSource.objects.filter(server=server).values_list("source_id", flat=True))
    for row in rows:
        if row.pk not in present:
            ServerSource.objects.create(server=server, source=row)


def _title(title: object) -> str:
    return clean_text(title, "title", longest=120)


def _access(access: object) -> str:
    return one_of(access, "access", [known.value for known in Server.Access])


def _instructions(instructions: object) -> str:
    return clean_text(instructions, "instructions", longest=MAX_INSTRUCTIONS, empty=True, lines=True)


def _shown(server: Server) -> dict[str, Any]:
    return {
        "id": str(server.id),
        "slug": server.slug,
        "title": server.title,
        "access": server.access,
        "offers_all": server.offers_all,
        "sources": sorted(source.name for source in server.sources.all()),
        "instructions": server.instructions,
    }
