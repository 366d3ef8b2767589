"""Pages of resources: list by source with a filter, detail, and the switch."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST, require_safe

from frontend.access import tenant_page
from frontend.listing import group_by_source, matches, offering_servers
from frontend.pages import page
from servers.services.resources import get_resource, list_resources, set_resource_enabled
from servers.services.servers import list_servers
from tenants.access import Caller
from tenants.roles import Action


@require_safe
@tenant_page(Action.RESOURCES_READ)
def resource_list(request: HttpRequest, caller: Caller) -> HttpResponse:
    """Every resource that the filter leaves, grouped by its data source."""
    rows = list_resources(caller=caller)
    words = request.GET.get("q", "").strip()
    shown = [
        row for row in rows if matches(words, row.uri, row.name, row.title, row.description, row.source.name)
    ]
    context = {"groups_of_rows": group_by_source(shown), "words": words, "any": bool(rows)}
    return page(request, caller, "resources.html", "resources", context)


@require_safe
@tenant_page(Action.RESOURCES_READ)
def resource_page(request: HttpRequest, caller: Caller, resource_id: UUID) -> HttpResponse:
    """One resource: what clients are told of it, and who offers it."""
    row = get_resource(resource_id, caller=caller)
    servers = offering_servers(list_servers(caller=caller), row.source_id)
    return page(request, caller, "resource.html", "resources", {"resource": row, "servers": servers})


@require_POST
@tenant_page(Action.TOOLS_CHANGE)
def resource_enabled(request: HttpRequest, caller: Caller, resource_id: UUID) -> HttpResponse:
    """Offer a resource or take it off every server; then back to where the switch was."""
    enabled = request.POST.get("enabled") == "true"
    row = set_resource_enabled(resource_id, enabled, caller=caller)
    messages.success(request, f"{row.uri} is {'offered' if enabled else 'no longer offered'}.")
    if request.POST.get("back") == "list":
        return redirect("frontend:resources", caller.tenant_slug)
    return redirect("frontend:resource", caller.tenant_slug, resource_id)
