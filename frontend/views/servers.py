"""Pages of servers: list with their URLs, create, change, open to everybody, delete."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from frontend.access import tenant_page
from frontend.addresses import mcp_url
from frontend.confirm import confirmed
from frontend.forms.building import ServerForm
from frontend.pages import form_status, page
from servers.services.served_versions import list_served
from servers.services.servers import (
    count_offered,
    create_server,
    delete_server,
    get_server,
    list_servers,
    update_server,
)
from servers.services.sources import list_sources
from servers.services.withheld import list_withheld
from tenants.access import Caller
from tenants.oauth_addresses import DEFAULT_SERVER
from tenants.roles import Action


@require_safe
@tenant_page(Action.SERVERS_READ)
def server_list(request: HttpRequest, caller: Caller) -> HttpResponse:
    """Every server with its URL and what it offers."""
    rows = [
        (server, mcp_url(caller.tenant_slug, server.slug), [source.name for source in server.sources.all()])
        for server in list_servers(caller=caller)
    ]
    return page(request, caller, "servers.html", "servers", {"rows": rows})


@require_http_methods(["GET", "HEAD", "POST"])
@tenant_page(Action.SERVERS_CHANGE)
def server_new(request: HttpRequest, caller: Caller) -> HttpResponse:
    """The form for a new server."""
    form = ServerForm(request.POST or None, sources=_source_names(caller))
    if request.method == "POST" and form.is_valid():
        data = form.cleaned_data
        with form.refusals():
            server = create_server(
                data["slug"],
                data["title"],
                sources=None if form.offers_all else data["sources"],
                instructions=data["instructions"],
                caller=caller,
            )
            messages.success(request, f"Server {server.slug} is up. Its URL is below.")
            return redirect("frontend:server", caller.tenant_slug, server.id)
    return page(request, caller, "server_form.html", "servers", {"form": form}, status=form_status(form))


@require_http_methods(["GET", "HEAD", "POST"])
@tenant_page(Action.SERVERS_READ)
def server(request: HttpRequest, caller: Caller, server_id: UUID) -> HttpResponse:
    """One server: its URL and, for editors, the form to change it."""
    if request.method == "POST":
        caller.require(Action.SERVERS_CHANGE)
    row = get_server(server_id, caller=caller)
    chosen = [source.name for source in row.sources.all()]
    initial: dict[str, Any] = {
        "title": row.title,
        "offers": "all" if row.offers_all else "chosen",
        "sources": [] if row.offers_all else chosen,
        "instructions": row.instructions,
    }
    form = ServerForm(request.POST or None, sources=_source_names(caller), fixed=True, initial=initial)
    if request.method == "POST" and form.is_valid():
        data = form.cleaned_data
        with form.refusals():
            update_server(
                server_id,
                caller=caller,
                title=data["title"],
                instructions=data["instructions"],
                sources=None if form.offers_all else data["sources"],
                offers_all=form.offers_all,
            )
            messages.success(request, f"Server {row.slug} is saved.")
            return redirect("frontend:server", caller.tenant_slug, row.id)
    context = {
        "server": row,
        "chosen": chosen,
        "counts": count_offered(server_id, caller=caller),
        "served": list_served(server_id, caller=caller),
        "withheld": list_withheld(server_id, caller=caller),
        "url": mcp_url(caller.tenant_slug, row.slug),
        "form": form,
        "public_rate": settings.ENV.public_rate,
        "is_default": row.slug == DEFAULT_SERVER,
        "delete_url": reverse("frontend:server_delete", args=[caller.tenant_slug, row.id]),
    }
    return page(request, caller, "server.html", "servers", context, status=form_status(form))


@require_POST
@tenant_page(Action.SERVERS_PUBLISH)
def server_publish(request: HttpRequest, caller: Caller, server_id: UUID) -> HttpResponse:
    """Open a server whose slug was typed to everybody."""
    row = get_server(server_id, caller=caller)
    if confirmed(request, row.slug, nothing="The server is still private"):
        update_server(server_id, access="public", caller=caller)
        messages.warning(
            request,
            f"Server {row.slug} is public: anyone with its URL may call its tools, and read its resources and prompts.",
        )
    return redirect("frontend:server", caller.tenant_slug, server_id)


@require_POST
@tenant_page(Action.SERVERS_CHANGE)
def server_unpublish(request: HttpRequest, caller: Caller, server_id: UUID) -> HttpResponse:
    """Close a server to all who have no key."""
    row = update_server(server_id, access="private", caller=caller)
    messages.success(request, f"Server {row.slug} is private: from now on a key is needed.")
    return redirect("frontend:server", caller.tenant_slug, server_id)


@require_POST
@tenant_page(Action.SERVERS_CHANGE)
def server_delete(request: HttpRequest, caller: Caller, server_id: UUID) -> HttpResponse:
    """Delete a server whose slug was typed."""
    row = get_server(server_id, caller=caller)
    if not confirmed(request, row.slug):
        return redirect("frontend:server", caller.tenant_slug, server_id)
    delete_server(server_id, caller=caller)
    messages.success(request, f"Server {row.slug} is deleted. Its sources and tools stay.")
    return redirect("frontend:servers", caller.tenant_slug)


def _source_names(caller: Caller) -> list[str]:
    return [source.name for source in list_sources(caller=caller)]
