"""Which versions of tools a server offers otherwise than as the current ones: pins, versions beside, canaries.

A server without any follows every tool's current version. Makes and publishes no version, builds no surface.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from django.db.models import QuerySet

from core.errors import Conflict, NotFound
from servers.models import ServedVersion, Server, Tool, ToolVersion
from servers.services.aliases import alias_of
from servers.services.bounds import check_name
from servers.services.canaries import MAX_CANARIES
from servers.services.changes import publish_change
from servers.services.reach import offers_source
from servers.services.servers import find_server, locked_server
from servers.services.tool_versions import find_version
from servers.services.tools import find_tool, find_tool_named, locked_tool
from servers.services.visibility import servers_left, tools_left
from tenants.access import Caller
from tenants.models import ApiKey, OAuthClient, TrustedIssuer
from tenants.roles import Action
from tenants.scoping import tenant_scope
from tenants.services.inputs import one_of, refuse, whole_number
from tenants.services.recording import record_change

MAX_SERVED: Final = 500
"""Of one server."""

MAX_CREDENTIALS: Final = 50
"""Of one canary."""

Use: Final = ServedVersion.Use
State: Final = ToolVersion.State


def list_served(server_id: UUID, *, caller: Caller) -> list[ServedVersion]:
    """What the server offers otherwise, by tool. Raises ``NotFound``."""
    caller.require(Action.SERVERS_READ)
    with tenant_scope(caller.tenant_id):
        server = find_server(server_id, caller)
        return list(_seen_by(caller).filter(server=server))


def list_served_of(tool_id: UUID, *, caller: Caller) -> list[ServedVersion]:
    """On which servers versions of the tool are offered otherwise, by server."""
    caller.require(Action.SERVERS_READ)
    with tenant_scope(caller.tenant_id):
        return list(_seen_by(caller).filter(tool=tool_id))


def _seen_by(caller: Caller) -> QuerySet[ServedVersion]:
    """Less what a narrowed key is kept from."""
    rows, tools, servers = served_rows(), tools_left(caller), servers_left(caller)
    if tools is not None:
        rows = rows.filter(tool__name__in=tools)
    return rows if servers is None else rows.filter(server__slug__in=servers)


def serve_version(
    server_id: UUID,
    tool: str,
    version: int,
    use: str,
    share: int | None = None,
    credentials: Sequence[str] = (),
    *,
    caller: Caller,
) -> ServedVersion:
    """Offer a version of the tool called ``tool`` on the server: from now on, and in place of what was so offered.

    ``use`` is ``pin``, ``beside`` (as ``<tool>_v<version>``) or ``canary``, which alone has ``share`` (percent, whole)
    and ``credentials`` (ids of API keys, OAuth clients and outside issuers). Drafts are offered as canaries only.
    Raises ``NotFound`` (the server), ``InvalidInput`` and ``Conflict`` (a taken name, too many).
    """
    caller.require(Action.SERVERS_CHANGE)
    use = one_of(use, "use", Use.values)
    with tenant_scope(caller.tenant_id):
        server = locked_server(server_id, caller)
        row = locked_tool(find_tool_named(tool, caller).pk, caller)
        _require_offered(server, row)
        found = _version(row, version, use)
        given = _canary(share, credentials, use)
        alias = alias_of(row.name, found.number)
        if use == Use.BESIDE:
            check_name(alias, "tool")
        present = _present(server, row, found, use)
        before = None if present is None else shown_served(present)
        # From here on no other change of the team's comes between: neither a tool of that name, nor one more canary.
        publish_change(caller.tenant_id)
        _require_room(server, row, use, alias, present)
        served = present or ServedVersion(
            tenant_id=caller.tenant_id, server=server, tool=row, use=use, created_by_id=caller.user_id
        )
        served.version, served.share, served.credentials = found, *given
        served.save()
        record_change(
            "server.version_served",
            caller=caller,
            before=before,
            after=shown_served(served),
            server=server.slug,
            tool=row.name,
        )
    return served


def stop_serving(server_id: UUID, served_id: UUID, *, caller: Caller) -> None:
    """End a pin, a version beside, or a canary: the server follows the tool again. Raises ``NotFound``."""
    caller.require(Action.SERVERS_CHANGE)
    with tenant_scope(caller.tenant_id):
        server = locked_server(server_id, caller)
        served = served_rows().filter(server=server, pk=served_id).first()
        if served is None:
            raise NotFound("This server has no such version of a tool.", code="served_not_found")
        # A key that is narrowed to other tools ends nothing of this one's.
        find_tool(served.tool_id, caller)
        before, name = shown_served(served), served.tool.name
        served.delete()
        publish_change(caller.tenant_id)
        record_change("server.version_ended", caller=caller, before=before, server=server.slug, tool=name)


def served_name(served: ServedVersion) -> str:
    """What clients call it by."""
    tool = served.tool.name
    return alias_of(tool, served.version.number) if served.use == Use.BESIDE else tool


def ending_with(tools: Sequence[Tool] | QuerySet[Tool]) -> list[dict[str, Any]]:
    """What servers offer of tools that are about to go, as the log has it. In the scope that is open."""
    return [shown_served(each) for each in served_rows().filter(tool__in=tools)]


def ending_words(served: ServedVersion) -> str:
    """That it goes with its tool, in a sentence."""
    number = served.version.number
    does = {
        Use.PIN: f"has version {number} pinned",
        Use.BESIDE: f"offers version {number} beside it, as {served_name(served)}",
        Use.CANARY: f"tries version {number} with some",
    }[Use(served.use)]
    return f"The server {served.server.slug} {does}: that ends."


def shown_served(served: ServedVersion) -> dict[str, Any]:
    """What is offered and how, as the log has it."""
    shown: dict[str, Any] = {
        "id": str(served.pk),
        "server": served.server.slug,
        "tool": served.tool.name,
        "version": served.version.number,
        "use": str(served.use),
    }
    if served.use == Use.CANARY:
        shown |= {"share": served.share, "credentials": [str(each) for each in served.credentials]}
    return shown


def served_rows() -> QuerySet[ServedVersion]:
    """All of the team's, each with its server, tool and version. In the scope that is open."""
    return ServedVersion.objects.select_related("server", "tool", "version")


def _require_offered(server: Server, tool: Tool) -> None:
    if not offers_source(server, tool.source_id):
        refuse(
            "tool",
            f"stands on the data source {tool.source.name}, which the server {server.slug} does not offer. Let it "
            "offer that first.",
        )


def _version(tool: Tool, number: int, use: str) -> ToolVersion:
    try:
        version = find_version(tool, number)
    except NotFound as unknown:
        refuse("version", f"{unknown.message[0].lower()}{unknown.message[1:]}")
    allowed = {State.PUBLISHED, State.DRAFT} if use == Use.CANARY else {State.PUBLISHED}
    if version.state not in allowed:
        hint = {
            State.DRAFT: "is a draft: publish it first, or offer it to some as a canary.",
            State.WITHDRAWN: "was rolled back from: publish it again first.",
            State.DISCARDED: "was discarded.",
        }[State(version.state)]
        refuse("version", hint)
    return version


def _canary(share: object, credentials: object, use: str) -> tuple[int | None, list[UUID]]:
    if use != Use.CANARY:
        if share is not None:
            refuse("share", "is for canaries only.")
        if credentials:
            refuse("credentials", "is for canaries only.")
        return None, []
    if share is not None:
        share = whole_number(share, "share", low=1, high=100)
    named = _credentials(credentials)
    if share is None and not named:
        refuse("share", "is needed, or credentials are: a canary is for some of those who call.")
    return share, named


def _credentials(given: object) -> list[UUID]:
    if not isinstance(given, list | tuple):
        refuse("credentials", "must be a list of ids.")
    if len(given) > MAX_CREDENTIALS:
        refuse("credentials", f"lists {len(given)}; at most {MAX_CREDENTIALS} are allowed.")
    found: dict[UUID, None] = {}
    for place, each in enumerate(given):
        try:
            wanted = each if isinstance(each, UUID) else UUID(str(each))
        except ValueError:
            wanted = None
        if wanted is None or not any(
            model.objects.filter(pk=wanted).exists() for model in (ApiKey, OAuthClient, TrustedIssuer)
        ):
            refuse(f"credentials.{place}", "is no API key, OAuth client or outside issuer of this team.")
        found[wanted] = None
    return list(found)


def _present(server: Server, tool: Tool, version: ToolVersion, use: str) -> ServedVersion | None:
    rows = served_rows().filter(server=server, tool=tool, use=use)
    return (rows.filter(version=version) if use == Use.BESIDE else rows).first()


def _require_room(server: Server, tool: Tool, use: str, alias: str, present: ServedVersion | None) -> None:
    if present is not None:
        return
    if use == Use.BESIDE and Tool.objects.filter(name=alias).exists():
        raise Conflict(
            f"The version would be called {alias}, and there is a tool of that name. Rename that, or pin the version.",
            code="name_taken",
        )
    rows = ServedVersion.objects.filter(server=server)
    if rows.count() >= MAX_SERVED:
        raise Conflict(
            f"The server {server.slug} offers {MAX_SERVED} versions so already. End some first.",
            code="too_many",
        )
    if use == Use.CANARY and rows.filter(use=use).count() >= MAX_CANARIES:
        raise Conflict(
            f"The server {server.slug} has {MAX_CANARIES} canaries already. End one first.", code="too_many"
        )
