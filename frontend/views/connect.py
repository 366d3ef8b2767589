"""The connect page: a tab a client, filled in for the chosen server, and a check from Marina's side."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_POST, require_safe

from core.errors import MarinaError
from frontend.access import tenant_page
from frontend.addresses import mcp_url
from frontend.clients import PLACEHOLDER, VARIABLE, Target, clients_for
from frontend.listing import offers
from frontend.pages import fragment, page, wants_fragment
from servers.models import Server, Tool
from servers.services.connection import check_connection
from servers.services.servers import list_servers
from servers.services.tools import is_published, list_tools
from tenants.access import Caller
from tenants.oauth_addresses import DEFAULT_SERVER
from tenants.roles import Action


@require_safe
@tenant_page(Action.SERVERS_READ)
def connect(request: HttpRequest, caller: Caller) -> HttpResponse:
    """The blocks for one server and one client; both are in the URL."""
    servers = sorted(list_servers(caller=caller), key=lambda row: (row.slug != DEFAULT_SERVER, row.slug))
    chosen = next((row for row in servers if row.slug == request.GET.get("server")), servers[0])
    clients = clients_for(_target(caller, chosen))
    client = next((each for each in clients if each.key == request.GET.get("client")), clients[0])
    context = {
        "servers": servers,
        "chosen": chosen,
        "url": mcp_url(caller.tenant_slug, chosen.slug),
        "clients": clients,
        "client": client,
        "placeholder": PLACEHOLDER,
        "variable": VARIABLE,
    }
    if wants_fragment(request):
        return fragment(request, caller, "connect.html", context)
    return page(request, caller, "connect.html", "connect", context)


@require_POST
@tenant_page(Action.SERVERS_READ)
def connect_check(request: HttpRequest, caller: Caller) -> HttpResponse:
    """Whether a client could use the server now, and if not, why."""
    context: dict[str, Any] = {"server": request.POST.get("server") or DEFAULT_SERVER}
    try:
        context["readiness"] = check_connection(context["server"], caller=caller)
    except MarinaError as error:
        context["refusal"] = error
    return fragment(request, caller, "connect_check.html", context)


def _target(caller: Caller, server: Server) -> Target:
    tools = [
        tool
        for tool in list_tools(caller=caller)
        if tool.enabled and is_published(tool.current) and offers(server, tool.source_id)
    ]
    first = min(tools, key=_unsuitability, default=None)
    return Target(
        url=mcp_url(caller.tenant_slug, server.slug),
        name=f"marina-{caller.tenant_slug}" + ("" if server.slug == DEFAULT_SERVER else f"-{server.slug}"),
        public=server.access == Server.Access.PUBLIC,
        tool=first.name if first else "list_tables",
        arguments=_sample(first.current.input_schema) if first and first.current else {},
    )


def _unsuitability(tool: Tool) -> tuple[bool, bool, bool]:
    """How badly a tool suits a first call: best is one whose data source answers, that needs no argument, and lists."""
    needs_arguments = tool.current is None or bool(tool.current.input_schema.get("required"))
    return tool.source.health != "healthy", needs_arguments, "list_" not in tool.name


def _sample(schema: dict[str, Any]) -> dict[str, Any]:
    """A value for each required argument, to be replaced by the reader."""
    by_type = {"string": "…", "integer": 1, "number": 1, "boolean": True, "array": [], "object": {}}
    properties = schema.get("properties", {})
    return {
        name: by_type.get(properties.get(name, {}).get("type"), "…") for name in schema.get("required", [])
    }
