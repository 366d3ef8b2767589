"""Pages of resources: list by source with a filter, detail, the switch, and the form of one's own."""

from __future__ import annotations

from operator import attrgetter
from typing import Final
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from frontend.access import tenant_page
from frontend.forms.writing import ResourceForm
from frontend.views.writing import Input, Pages
from servers.models import Resource
from servers.services.handmade import (
    change_resource,
    create_resource,
    delete_resource,
    resource_definition,
)
from servers.services.playground import try_resource
from servers.services.resources import get_resource, list_resources, set_resource_enabled
from tenants.access import Caller
from tenants.roles import Action


def _inputs(row: Resource) -> list[Input]:
    hint = "Write a value in place of each name in braces, and the braces." if row.template else ""
    return [Input("uri", "URI", row.uri, required=True, help=hint)]


PAGES: Final[Pages[Resource]] = Pages(
    noun="resource",
    form=ResourceForm,
    name=attrgetter("uri"),
    texts=lambda row: (row.uri, row.name, row.title, row.description),
    find=get_resource,
    set_enabled=set_resource_enabled,
    create=create_resource,
    change=change_resource,
    remove=delete_resource,
    definition=resource_definition,
    inputs=_inputs,
)


@require_safe
@tenant_page(Action.RESOURCES_READ)
def resource_list(request: HttpRequest, caller: Caller) -> HttpResponse:
    """Every resource that the filter leaves, grouped by its data source."""
    return PAGES.listing(request, caller, list_resources(caller=caller))


@require_safe
@tenant_page(Action.RESOURCES_READ)
def resource_page(request: HttpRequest, caller: Caller, resource_id: UUID) -> HttpResponse:
    """One resource: what clients are told of it, and who offers it."""
    return PAGES.show(request, caller, resource_id)


@require_POST
@tenant_page(Action.RESOURCES_READ)
def resource_try(request: HttpRequest, caller: Caller, resource_id: UUID) -> HttpResponse:
    """Read a resource as the person, by the one decision path, and show what came back."""
    uri, server = request.POST.get("uri", ""), request.POST.get("server") or "default"
    return PAGES.try_it(
        request, caller, resource_id, lambda _: try_resource(uri, caller=caller, server_slug=server)
    )


@require_POST
@tenant_page(Action.TOOLS_CHANGE)
def resource_enabled(request: HttpRequest, caller: Caller, resource_id: UUID) -> HttpResponse:
    """Offer a resource or take it off every server; then back to where the switch was."""
    return PAGES.switch(request, caller, resource_id)


@require_http_methods(["GET", "HEAD", "POST"])
@tenant_page(Action.TOOLS_CHANGE)
def resource_new(request: HttpRequest, caller: Caller) -> HttpResponse:
    """The form for a resource of the team's own."""
    return PAGES.write_new(request, caller)


@require_http_methods(["GET", "HEAD", "POST"])
@tenant_page(Action.TOOLS_CHANGE)
def resource_edit(request: HttpRequest, caller: Caller, resource_id: UUID) -> HttpResponse:
    """The form to change a resource of the team's own."""
    return PAGES.write_change(request, caller, resource_id)


@require_POST
@tenant_page(Action.TOOLS_CHANGE)
def resource_delete(request: HttpRequest, caller: Caller, resource_id: UUID) -> HttpResponse:
    """Delete a resource of the team's own whose URI was typed."""
    return PAGES.delete(request, caller, resource_id)
