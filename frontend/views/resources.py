"""Pages of resources: list by source with a filter, detail, the switch, and the form of one's own."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from core.errors import InvalidInput
from frontend.access import tenant_page
from frontend.confirm import confirmed
from frontend.forms.writing import ResourceForm
from frontend.listing import filtered_list, offering_servers
from frontend.pages import form_status, page
from frontend.switch import switched, turned_on
from servers.services.handmade import (
    change_resource,
    create_resource,
    delete_resource,
    resource_definition,
)
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
    context = {
        "resource": row,
        "servers": servers,
        "definition": resource_definition(row),
        "delete_url": reverse("frontend:resource_delete", args=[caller.tenant_slug, row.id]),
    }
    return page(request, caller, "resource.html", "resources", context)


@require_POST
@tenant_page(Action.TOOLS_CHANGE)
def resource_enabled(request: HttpRequest, caller: Caller, resource_id: UUID) -> HttpResponse:
    """Offer a resource or take it off every server; then back to where the switch was."""
    row = set_resource_enabled(resource_id, turned_on(request), caller=caller)
    return switched(request, caller, row.uri, resource_id, page="resource", listing="resources")


@require_http_methods(["GET", "HEAD", "POST"])
@tenant_page(Action.TOOLS_CHANGE)
def resource_new(request: HttpRequest, caller: Caller) -> HttpResponse:
    """The form for a resource of the team's own."""
    form = ResourceForm(request.POST or None, request.FILES or None)
    if request.method == "POST" and form.is_valid():
        with form.refusals():
            row = create_resource(form.definition(), caller=caller)
            messages.success(request, f"{row.uri} is offered now.")
            return redirect("frontend:resource", caller.tenant_slug, row.id)
    return page(request, caller, "resource_form.html", "resources", {"form": form}, status=form_status(form))


@require_http_methods(["GET", "HEAD", "POST"])
@tenant_page(Action.TOOLS_CHANGE)
def resource_edit(request: HttpRequest, caller: Caller, resource_id: UUID) -> HttpResponse:
    """The form to change a resource of the team's own."""
    row = get_resource(resource_id, caller=caller)
    if row.brought:
        raise InvalidInput(
            "This resource came with its data source and cannot be changed. Make one of your own."
        )
    stored = resource_definition(row)
    form = ResourceForm(request.POST or None, request.FILES or None, stored=stored)
    if request.method == "POST" and form.is_valid():
        with form.refusals():
            row = change_resource(resource_id, form.definition(), caller=caller)
            messages.success(request, f"{row.uri} is saved.")
            return redirect("frontend:resource", caller.tenant_slug, row.id)
    context = {"form": form, "resource": row, "binary": "blob" in stored}
    return page(request, caller, "resource_form.html", "resources", context, status=form_status(form))


@require_POST
@tenant_page(Action.TOOLS_CHANGE)
def resource_delete(request: HttpRequest, caller: Caller, resource_id: UUID) -> HttpResponse:
    """Delete a resource of the team's own whose URI was typed."""
    row = get_resource(resource_id, caller=caller)
    if not confirmed(request, row.uri):
        return redirect("frontend:resource", caller.tenant_slug, resource_id)
    delete_resource(resource_id, caller=caller)
    messages.success(request, f"{row.uri} is deleted.")
    return redirect("frontend:resources", caller.tenant_slug)
