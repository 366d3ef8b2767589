"""Pages of resources: list by source with a filter, detail, and the switch."""

from __future__ import annotations

from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_POST, require_safe

from frontend.access import tenant_page
from frontend.listing import filtered_list, offering_servers
from frontend.pages import page
from frontend.switch import switched, turned_on
from servers.services.resources import get_resource, list_resources, set_resource_enabled
from servers.services.servers import list_servers
from tenants.access import Caller
from tenants.roles import Action


@require_safe
@tenant_page(Action.RESOURCES_READ)
def resource_list(request: HttpRequest, caller: Caller) -> HttpResponse:
    """Every resource that the filter leaves, grouped by its data source."""
    context = filtered_list(
        request.GET.get("q", ""),
        list_resources(caller=caller),
        lambda row: (row.uri, row.name, row.title, row.description),
    )
    context["switch_route"] = "frontend:resource_enabled"
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
    row = set_resource_enabled(resource_id, turned_on(request), caller=caller)
    return switched(request, caller, row.uri, resource_id, page="resource", listing="resources")
