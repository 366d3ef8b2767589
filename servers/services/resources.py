"""Resources and resource templates: stored as their sources bring them, shown, and switched. Reads no resource."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from core.errors import Conflict, NotFound
from marina.uritemplates import BadTemplate, compile_template
from servers.execution.contract import OfferedResource
from servers.models import MAX_URI, DataSource, Resource
from servers.services.bounds import MAX_EXTRAS_BYTES, offered_fields
from servers.services.changes import publish_change
from servers.services.reach import within_servers
from tenants.access import Caller
from tenants.roles import Action
from tenants.scoping import tenant_scope
from tenants.services.inputs import as_json, clean_text, refuse
from tenants.services.recording import record_change


def list_resources(*, caller: Caller) -> list[Resource]:
    """The resources and templates that the caller may see, by URI, each with its source."""
    caller.require(Action.RESOURCES_READ)
    with tenant_scope(caller.tenant_id):
        return list(within_servers(Resource.objects.select_related("source"), caller))


def get_resource(resource_id: UUID, *, caller: Caller) -> Resource:
    """One resource with its source. Raises ``NotFound``."""
    caller.require(Action.RESOURCES_READ)
    with tenant_scope(caller.tenant_id):
        return access_resource(resource_id, caller)


def set_resource_enabled(resource_id: UUID, enabled: bool, *, caller: Caller) -> Resource:
    """Offer a resource, or take it off every server without losing it. Raises ``NotFound``."""
    caller.require(Action.TOOLS_CHANGE)
    if not isinstance(enabled, bool):
        refuse("enabled", "must be true or false.")
    with tenant_scope(caller.tenant_id):
        resource = access_resource(resource_id, caller, lock=True)
        if resource.enabled == enabled:
            return resource
        before = shown_resource(resource)
        resource.enabled = enabled
        resource.save(update_fields=["enabled"])
        publish_change(caller.tenant_id)
        kind = "resource.enabled" if enabled else "resource.disabled"
        record_change(kind, caller=caller, before=before, after=shown_resource(resource))
    return resource


def require_free_uris(uris: list[str], *, besides: DataSource | None = None) -> None:
    """Raise ``Conflict`` that names the first of ``uris`` that a source other than ``besides`` offers already.

    In the scope that is open.
    """
    taken = Resource.objects.filter(uri__in=uris).select_related("source").order_by("uri")
    if besides is not None:
        taken = taken.exclude(source=besides)
    first = taken.first()
    if first is not None:
        raise Conflict(
            f"The URI {first.uri} is taken: data source {first.source.name} offers it already. A team offers "
            "each URI once; delete that data source first, or configure this one for other URIs.",
            code="uri_taken",
            data={"uri": first.uri, "source": first.source.name},
        )


def resource_fields(offered: OfferedResource) -> dict[str, Any]:
    """What is stored of an offered resource besides its source. Raises ``InvalidInput`` naming the resource."""
    path = f"resources.{offered.uri[:200]}"
    uri = clean_text(offered.uri, path, longest=MAX_URI)
    if uri != offered.uri or " " in uri:
        refuse(path, "is not a URI: it holds a space.")
    if offered.template:
        try:
            compile_template(uri)
        except BadTemplate as fault:
            refuse(path, f"is not a URI template that Marina can match. {fault}")
    annotations, icons = as_json(
        [dict(offered.annotations), [dict(icon) for icon in offered.icons]], path, largest=MAX_EXTRAS_BYTES
    )
    return {
        "uri": uri,
        "template": offered.template,
        "name": clean_text(offered.name, f"{path}.name", longest=200),
        **offered_fields(offered, path, offered.description),
        "mime_type": clean_text(offered.mime_type, f"{path}.mime_type", longest=200, empty=True),
        "size": offered.size,
        "annotations": annotations,
        "icons": icons,
    }


def access_resource(resource_id: UUID, caller: Caller, *, lock: bool = False) -> Resource:
    rows = within_servers(Resource.objects.select_related("source"), caller).filter(pk=resource_id)
    resource = (rows.select_for_update(of=("self",)) if lock else rows).first()
    if resource is None:
        raise NotFound("There is no such resource in this team.", code="resource_not_found")
    return resource


def shown_resource(resource: Resource) -> dict[str, Any]:
    return {
        "id": str(resource.id),
        "uri": resource.uri,
        "name": resource.name,
        "template": resource.template,
        "source": resource.source.name,
        "enabled": resource.enabled,
    }
